"""The transformers backend: safetensors models and LoRA adapters in this process, through PyTorch.

`loading` opens a model, `failures` says in words why not, `vocabulary` is everything about tokens,
`cells` and `cache` keep what was computed of each slot, `model` computes, `backend` is the face.
PyTorch is imported when a backend is opened, not before.
"""

from empathy_agent.backends.transformers.backend import TransformersBackend

__all__ = ["TransformersBackend"]
