"""Every shipped backend passes the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.fake import FakeBackend
from empathy_agent.testing import BackendConformance

EMBEDDED = Path(__file__).parents[2] / "empathy_agent" / "models" / "empathy-tiny-zh.gguf"


class TestFake(BackendConformance):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with FakeBackend(context_size=1024, delay_s=0.0002) as backend:
            yield backend


class TestFakeWithSpelledTags(BackendConformance):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with FakeBackend(context_size=1024, control_tags=False, delay_s=0.0002) as backend:
            yield backend


class TestFakeWithoutRollback(BackendConformance):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with FakeBackend(context_size=1024, can_rollback=False, delay_s=0.0002) as backend:
            yield backend


class TestLlamaCppWithControlTags(BackendConformance):
    @pytest.fixture
    def backend(self, tagged_gguf: Path) -> Iterator[Backend]:
        from empathy_agent.backends.llama_cpp import LlamaCppBackend

        with LlamaCppBackend(tagged_gguf, n_threads=1) as backend:
            yield backend


class TestLlamaCppWithoutBatching(BackendConformance):
    @pytest.fixture
    def backend(self, tagged_gguf: Path) -> Iterator[Backend]:
        from empathy_agent.backends.llama_cpp import LlamaCppBackend

        with LlamaCppBackend(tagged_gguf, n_threads=1, batching=False) as backend:
            yield backend


class TestLlamaCppWithoutTagsOrTemplate(BackendConformance):
    @pytest.fixture
    def backend(self, plain_gguf: Path) -> Iterator[Backend]:
        from empathy_agent.backends.llama_cpp import LlamaCppBackend

        with LlamaCppBackend(plain_gguf, n_threads=1) as backend:
            yield backend


@pytest.mark.model
@pytest.mark.skipif(not EMBEDDED.exists(), reason="the embedded model is not there yet")
class TestEmbeddedModel(BackendConformance):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        from empathy_agent.models.resolver import open_backend

        with open_backend("tiny") as backend:
            yield backend
