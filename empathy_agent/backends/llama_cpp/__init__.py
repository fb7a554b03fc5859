"""The llama.cpp backend: GGUF models in this process, through the low-level `llama_*` calls.

`library` loads the shared library and keeps it quiet, `loading` opens a model file or says in words
why not, `vocabulary` is everything about tokens, `model` owns the context and its memory,
`sampler` draws tokens, `backend` is the face. Nothing outside this package touches the library.
"""

from empathy_agent.backends.llama_cpp.backend import LlamaCppBackend

__all__ = ["LlamaCppBackend"]
