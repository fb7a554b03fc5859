"""Any server that continues a prompt over HTTP: vLLM, SGLang, llama-server, LM Studio, Ollama."""

from __future__ import annotations

from empathy_agent.backends.completions.backend import CompletionsBackend

__all__ = ["CompletionsBackend"]
