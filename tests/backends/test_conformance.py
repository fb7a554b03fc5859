"""Every shipped backend passes the conformance kit; `--conformance-table` shows how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.chat import ChatBackend
from empathy_agent.backends.fake import FakeBackend
from empathy_agent.models.resolver import open_backend
from empathy_agent.testing import BackendConformance
from empathy_agent.testing.random_checkpoint import Family
from empathy_agent.testing.scripted_chat import JsonChatModel, ScriptedChatModel

_DELAY_S = 0.0002
_LONG_ANSWER = "我在听，你慢慢说。" * 40
_WEIGHTS = Path(__file__).parents[2] / "trainers" / "checkpoints" / "empathy-tiny-zh"


class TestFake(BackendConformance):
    label = "fake"

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with FakeBackend(context_size=1024, delay_s=_DELAY_S) as backend:
            yield backend

    @pytest.fixture
    def crowded(self) -> Iterator[Backend]:
        with FakeBackend(delay_s=_DELAY_S, parallel_sequences=1, max_waiting=2) as backend:
            yield backend


class TestFakeWithSpelledTags(BackendConformance):
    label = "fake, spelled tags"

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with FakeBackend(context_size=1024, control_tags=False, delay_s=_DELAY_S) as backend:
            yield backend


class TestFakeWithoutRollback(BackendConformance):
    label = "fake, no rollback"

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with FakeBackend(context_size=1024, can_rollback=False, delay_s=_DELAY_S) as backend:
            yield backend


class TestLlamaCpp(BackendConformance):
    label = "llama.cpp"

    @pytest.fixture
    def backend(self, tagged_gguf: Path) -> Iterator[Backend]:
        with open_backend(tagged_gguf, n_threads=1) as backend:
            yield backend

    @pytest.fixture
    def crowded(self, tagged_gguf: Path) -> Iterator[Backend]:
        with open_backend(tagged_gguf, n_threads=1, parallel_sequences=1, max_waiting=2) as backend:
            yield backend


class TestLlamaCppWithoutBatching(BackendConformance):
    label = "llama.cpp, no batching"

    @pytest.fixture
    def backend(self, tagged_gguf: Path) -> Iterator[Backend]:
        with open_backend(tagged_gguf, n_threads=1, batching=False) as backend:
            yield backend


class TestLlamaCppWithoutTagsOrTemplate(BackendConformance):
    label = "llama.cpp, no tags, no template"

    @pytest.fixture
    def backend(self, plain_gguf: Path) -> Iterator[Backend]:
        with open_backend(plain_gguf, n_threads=1) as backend:
            yield backend


@pytest.mark.model
class TestEmbeddedModel(BackendConformance):
    label = "embedded model"

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with open_backend("tiny", n_threads=1) as backend:
            yield backend


class TestTransformers(BackendConformance):
    label = "transformers"

    @pytest.fixture
    def backend(self, checkpoint: Callable[[Family], Path]) -> Iterator[Backend]:
        with open_backend(checkpoint("qwen3"), n_threads=1, device_map="cpu") as backend:
            yield backend

    @pytest.fixture
    def crowded(self, checkpoint: Callable[[Family], Path]) -> Iterator[Backend]:
        path = checkpoint("qwen3")
        with open_backend(
            path, n_threads=1, device_map="cpu", parallel_sequences=1, max_waiting=2
        ) as backend:
            yield backend


class TestTransformersWithoutBatching(BackendConformance):
    label = "transformers, no batching"

    @pytest.fixture
    def backend(self, checkpoint: Callable[[Family], Path]) -> Iterator[Backend]:
        path = checkpoint("gemma3_text")
        with open_backend(path, n_threads=1, device_map="cpu", batching=False) as backend:
            yield backend


@pytest.mark.slow
class TestEmbeddedWeights(BackendConformance):
    label = "its weights, transformers"

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        pytest.importorskip("transformers", reason="transformers is not installed")
        with open_backend(_WEIGHTS, n_threads=1, device_map="cpu") as backend:
            yield backend


@pytest.mark.model
@pytest.mark.allow_hosts(["127.0.0.1"])
class TestLlamaCppServer(BackendConformance):
    label = "llama_cpp.server, completions"

    @pytest.fixture
    def backend(self, llama_cpp_server: str) -> Iterator[Backend]:
        with open_backend(llama_cpp_server, context_size=1024, max_parallel=2) as backend:
            yield backend

    @pytest.fixture
    def crowded(self, llama_cpp_server: str) -> Iterator[Backend]:
        with open_backend(
            llama_cpp_server, context_size=1024, max_parallel=1, max_waiting=2
        ) as backend:
            yield backend


class TestChat(BackendConformance):
    label = "chat model, layers together"
    layers: Literal["together", "one_by_one"] = "together"

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        model = JsonChatModel(token_delay_s=0.0005, answer=_LONG_ANSWER)
        with ChatBackend(model, layers=self.layers, context_size=4096, max_parallel=4) as backend:
            yield backend

    @pytest.fixture
    def crowded(self) -> Iterator[Backend]:
        model = JsonChatModel(token_delay_s=0.0005, answer=_LONG_ANSWER)
        with ChatBackend(model, layers=self.layers, max_parallel=1, max_waiting=2) as backend:
            yield backend


class TestChatOneByOne(TestChat):
    label = "chat model, one by one"
    layers = "one_by_one"


class TestChatInPlainText(BackendConformance):
    label = "chat model, plain text"

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        model = ScriptedChatModel(token_delay_s=0.0005, answer=_LONG_ANSWER)
        with ChatBackend(model, context_size=4096, max_parallel=4) as backend:
            yield backend
