"""The resolver: names, paths, checksums, and words for everything else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.errors import BackendUnavailable, ConfigError
from empathy_agent.models import resolver
from empathy_agent.models.resolver import open_backend, resolve_model, verify_checksum


def test_fake_opens_the_fake_with_its_options() -> None:
    with open_backend("fake", context_size=300) as backend:
        assert isinstance(backend, FakeBackend)
        assert backend.context_size == 300


def test_a_path_opens_a_gguf(tagged_gguf: Path) -> None:
    with open_backend(tagged_gguf, n_ctx=512) as backend:
        assert isinstance(backend, LlamaCppBackend)
        assert backend.name == "tagged"
    with open_backend(str(tagged_gguf), name="mine") as backend:
        assert backend.name == "mine"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("hf:Qwen/Qwen3-0.6B-GGUF", "not built yet"),
        ("gpt-4", "unknown model 'gpt-4'"),
        ("/nowhere/model.gguf", "no model file at"),
        ("", "unknown model"),
    ],
)
def test_anything_else_is_refused_with_what_is_possible(spec: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        resolve_model(spec)
    assert "'tiny'" in str(caught.value)
    assert ".gguf" in str(caught.value)


@pytest.mark.parametrize("spec", ["fake", "path"])
def test_an_unknown_option_is_named_as_such(spec: str, tagged_gguf: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'script_'|did you mean 'n_ctx'"):
        open_backend("fake", script_=5) if spec == "fake" else open_backend(tagged_gguf, n_ct=5)
    with pytest.raises(ConfigError, match="known are"):
        open_backend(tagged_gguf, zzz=5)


def test_tiny_is_checked_against_its_checksum(
    tagged_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "empathy-tiny-zh.gguf"
    monkeypatch.setattr(resolver, "TINY_PATH", path)
    with pytest.raises(BackendUnavailable, match="missing from this installation"):
        resolve_model("tiny")
    path.write_bytes(tagged_gguf.read_bytes())
    side = tmp_path / "empathy-tiny-zh.gguf.sha256"
    side.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    ref = resolve_model("tiny")
    assert (ref.path, ref.name) == (path, "empathy-tiny-zh")
    with open_backend("tiny") as backend:
        assert backend.name == "empathy-tiny-zh"
    side.write_text("0" * 64)
    with pytest.raises(BackendUnavailable, match="damaged"):
        resolve_model("tiny")
    side.write_text("")
    with pytest.raises(BackendUnavailable, match="checksum is missing"):
        verify_checksum(path)
