"""Nobody at risk is answered by a model that only demonstrates; a real model may answer at `elevated`."""

from __future__ import annotations

from pathlib import Path

import pytest

from empathy_agent import EmpathyAgent, Settings
from empathy_agent.backends.fake import FakeBackend
from empathy_agent.models.resolver import TINY_PATH, open_backend
from tests.graph.posts import ELEVATED, POST, Demonstration, parts


@pytest.mark.parametrize("mode", ["graph", "single_pass"])
def test_at_elevated_a_demonstration_model_writes_nothing(mode: str) -> None:
    with Demonstration() as backend:
        agent = EmpathyAgent(backend, settings=Settings(region="CN"))
        reply = agent.invoke(ELEVATED, {"configurable": {"empathy_mode": mode}})
        assert parts(backend) == []
        assert (reply.risk, reply.finish) == ("elevated", "crisis")
        assert "12356" in reply.answer
        assert agent.invoke(POST).finish == "stop"


def test_at_elevated_any_other_model_answers() -> None:
    with FakeBackend() as backend:
        assert EmpathyAgent(backend).invoke(ELEVATED).finish == "stop"
        assert parts(backend)


@pytest.mark.model
def test_the_embedded_model_says_that_it_only_demonstrates() -> None:
    assert Path(TINY_PATH).is_file()
    with open_backend("tiny") as backend:
        assert backend.capabilities.demonstration
        assert backend.capabilities.languages == ("zh",)
        assert backend.capabilities.control_tags
