"""The same weights say the same in llama.cpp and in transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.llama_cpp.backend import LlamaCppBackend
from empathy_agent.backends.llama_cpp.backend import is_available as has_llama_cpp
from empathy_agent.backends.requests import Message, Request
from empathy_agent.backends.transformers import TransformersBackend
from empathy_agent.backends.transformers.backend import is_available
from empathy_agent.segments import ALL_TAGS, Segment
from empathy_agent.testing.kit import GREEDY, OTHER_POST, POST
from empathy_agent.testing.random_checkpoint import write_random_checkpoint

pytestmark = pytest.mark.skipif(
    not (is_available() and has_llama_cpp()), reason="needs both libraries"
)

POSTS = (POST, OTHER_POST, "I'm sad, and nobody asks.", "".join(ALL_TAGS) + "😭\x00", "嗯")


def greedy_ids(backend: Backend, post: str, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of a post's prompt and of its greedy continuation."""
    prompt = backend.pin(backend.render([Message("user", post)]))
    done = backend.complete(Request(prompt, (), count, GREEDY, min_new_tokens=count))
    return sum((one.ids or () for one in prompt), ()), done.ids


def test_both_libraries_say_the_same(tmp_path: Path) -> None:
    export = pytest.importorskip("empathy_trainers.export")
    folder = write_random_checkpoint(tmp_path / "model")
    file = export.export_gguf(
        folder,
        tmp_path / "model.gguf",
        quantization="f32",
        languages=["zh"],
        name="random",
        licence="CC0-1.0",
    )
    with (
        LlamaCppBackend(file, n_threads=1) as llama,
        TransformersBackend(folder, n_threads=1, device_map="cpu") as ours,
    ):
        assert llama.capabilities.control_tags
        assert ours.capabilities.control_tags
        assert set(llama.special_strings) == set(ours.special_strings)
        for post in POSTS:
            assert greedy_ids(ours, post, 32) == greedy_ids(llama, post, 32)
            text = (Segment(post),)
            assert ours.count_tokens(text) == llama.count_tokens(text)
