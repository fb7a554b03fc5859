"""The models of the bench: the embedded one, and one of random weights and a real size."""

from __future__ import annotations

import os
from pathlib import Path

from empathy_agent.models.resolver import TINY_PATH
from empathy_agent.testing.random_gguf import QWEN3_0_6B, write_random_gguf

RANDOM_NAME = "random-qwen3-0.6b-vocab32k-q8_0.gguf"
"""Qwen3-0.6B's shape with random Q8_0 weights; its vocabulary is 32,000 instead of 151,936."""


def cache_folder() -> Path:
    """Return the folder of made files, outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "empathy-agent" / "bench"


def model_file(spec: str) -> Path:
    """Return the file of `"tiny"`, `"random-0.6b"` (made on first use) or a path."""
    if spec == "tiny":
        return TINY_PATH
    if spec != "random-0.6b":
        return Path(spec)
    path = cache_folder() / RANDOM_NAME
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"making {path} (about 0.5 GB, once)", flush=True)
        write_random_gguf(path, QWEN3_0_6B, weights="q8_0")
    return path


def default_models() -> list[str]:
    """Return the models that are there without being named."""
    return [*(["tiny"] if TINY_PATH.exists() else []), "random-0.6b"]
