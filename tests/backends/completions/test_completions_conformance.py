"""The conformance kit over a real llama_cpp.server with the embedded model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.completions import CompletionsBackend
from empathy_agent.testing import BackendConformance


@pytest.mark.enable_socket
@pytest.mark.model
class TestLlamaCppServer(BackendConformance):
    @pytest.fixture
    def backend(self, embedded_url: str) -> Iterator[Backend]:
        with CompletionsBackend(embedded_url, context_size=2048) as backend:
            yield backend

    @pytest.fixture
    def crowded(self, embedded_url: str) -> Iterator[Backend]:
        with CompletionsBackend(
            embedded_url, context_size=2048, max_parallel=1, max_waiting=2
        ) as backend:
            yield backend
