"""A chat model behind the contract passes the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.chat import ChatBackend
from empathy_agent.testing import BackendConformance
from empathy_agent.testing.scripted_chat import JsonChatModel, ScriptedChatModel

LONG = "我在听，你慢慢说。" * 40


class TestTogether(BackendConformance):
    layers: Literal["together", "one_by_one"] = "together"

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        model = JsonChatModel(token_delay_s=0.0005, answer=LONG)
        with ChatBackend(model, layers=self.layers, context_size=4096, max_parallel=4) as backend:
            yield backend

    @pytest.fixture
    def crowded(self) -> Iterator[Backend]:
        model = JsonChatModel(token_delay_s=0.0005, answer=LONG)
        with ChatBackend(model, max_parallel=1, max_waiting=2) as backend:
            yield backend


class TestOneByOne(TestTogether):
    layers = "one_by_one"


class TestPlainText(BackendConformance):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        model = ScriptedChatModel(token_delay_s=0.0005, answer=LONG)
        with ChatBackend(model, context_size=4096, max_parallel=4) as backend:
            yield backend
