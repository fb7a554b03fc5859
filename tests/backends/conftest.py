"""Tiny random-weight GGUF files, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from empathy_agent.testing.random_gguf import write_random_gguf


@pytest.fixture(scope="session")
def tagged_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose tags are CONTROL tokens, with a chat template."""
    return write_random_gguf(tmp_path_factory.mktemp("gguf") / "tagged.gguf")


@pytest.fixture(scope="session")
def plain_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that knows no tags and has no chat template."""
    path = tmp_path_factory.mktemp("gguf") / "plain.gguf"
    return write_random_gguf(path, has_tags=False, chat_template=None, seed=1)
