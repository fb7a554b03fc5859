"""From a spec to an open backend: the one that fits, with its options, and what it answers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from langchain_core.language_models import FakeListChatModel

from empathy_agent.backends.chat import ChatBackend
from empathy_agent.backends.completions import CompletionsBackend
from empathy_agent.backends.fake import FakeBackend
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.backends.transformers import TransformersBackend
from empathy_agent.errors import BackendUnavailable, ConfigError
from empathy_agent.models import resolver
from empathy_agent.models.resolver import open_backend, resolve_model, verify_checksum
from empathy_agent.testing.hub_server import HubServer
from empathy_agent.testing.random_checkpoint import write_random_checkpoint
from empathy_graph.agent import EmpathyAgent

LONELY = "我最近很孤单，不知道该怎么办。"


def test_fake_opens_the_fake_with_its_options() -> None:
    with open_backend("fake", context_size=300) as backend:
        assert isinstance(backend, FakeBackend)
        assert backend.context_size == 300


def test_a_path_opens_a_gguf(gguf_file: Path) -> None:
    with open_backend(gguf_file, n_ctx=512) as backend:
        assert isinstance(backend, LlamaCppBackend)
        assert backend.name == "random"
    with open_backend(str(gguf_file), name="mine") as backend:
        assert backend.name == "mine"


def test_a_folder_opens_with_transformers(tmp_path: Path) -> None:
    folder = write_random_checkpoint(tmp_path / "random", "qwen3")
    with open_backend(folder, n_threads=1, device_map="cpu") as backend:
        assert isinstance(backend, TransformersBackend)


def test_a_chat_model_opens_as_one() -> None:
    with open_backend(FakeListChatModel(responses=["x"]), name="mine") as backend:
        assert isinstance(backend, ChatBackend)
        assert backend.name == "mine"


def test_an_address_opens_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, str | None]] = []

    def remember(self: object, base_url: str, *, model: str | None = None) -> None:
        given.append((base_url, model))

    monkeypatch.setattr(CompletionsBackend, "__init__", remember)
    open_backend("http://host:8000/v1#qwen")
    open_backend("http://host:8000/v1", model="other")
    assert given == [("http://host:8000/v1", "qwen"), ("http://host:8000/v1", "other")]


@pytest.mark.parametrize("spec", ["fake", "path"])
def test_an_unknown_option_is_named_as_such(spec: str, gguf_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'script'|did you mean 'n_ctx'"):
        open_backend("fake", script_=5) if spec == "fake" else open_backend(gguf_file, n_ct=5)
    with pytest.raises(ConfigError, match="known are"):
        open_backend(gguf_file, zzz=5)


def test_tiny_is_checked_against_its_checksum(
    gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "empathy-tiny-zh.gguf"
    monkeypatch.setattr(resolver, "TINY_PATH", path)
    with pytest.raises(BackendUnavailable, match="missing from this installation"):
        resolve_model("tiny")
    path.write_bytes(gguf_file.read_bytes())
    side = tmp_path / "empathy-tiny-zh.gguf.sha256"
    side.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    with open_backend("tiny") as backend:
        assert backend.name == "empathy-tiny-zh"
    side.write_text("0" * 64)
    with pytest.raises(BackendUnavailable, match="damaged"):
        resolve_model("tiny")
    side.write_text("")
    with pytest.raises(BackendUnavailable, match="checksum is missing"):
        verify_checksum(path)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_gguf_of_the_hub_answers(hub: HubServer, gguf_file: Path) -> None:
    hub.add("org/random-GGUF", {"random-Q4_K_M.gguf": gguf_file.read_bytes()})
    with EmpathyAgent("hf:org/random-GGUF") as agent:
        assert isinstance(agent.backend, LlamaCppBackend)
        assert agent.invoke(LONELY).answer


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_snapshot_of_the_hub_answers(hub: HubServer, tmp_path: Path) -> None:
    folder = write_random_checkpoint(tmp_path / "random", "qwen3")
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    hub.add("org/random", files)
    with open_backend("hf:org/random", n_threads=1, device_map="cpu") as backend:
        assert isinstance(backend, TransformersBackend)
        assert backend.name == "org/random"
        with EmpathyAgent(backend) as agent:
            assert agent.invoke(LONELY).answer
