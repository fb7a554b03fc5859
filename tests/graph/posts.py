"""Posts, scripts and collectors that the tests of the graph share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.backends.requests import Capabilities
from empathy_agent.chain import EmpathyReply
from empathy_agent.config import Sampling, Settings
from empathy_graph.events import AnswerDelta, EmpathyStreamItem

POST = "最近他总是很晚才回消息，我一个人在宿舍胡思乱想，总觉得他不爱我了。"
ENGLISH = "I keep lying awake going over what my sister said at dinner."
SECRET = "宿舍"
"""A word of `POST` that must show up in no log, error or trace."""
ELEVATED = "我不想活了"
IMMINENT = "我打算今晚就自杀"
SEEDED = Settings(sampling=Sampling(seed=7))


class ChineseOnly(FakeBackend):
    """A model that says it was made for Chinese only."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, languages=("zh",))


class Demonstration(FakeBackend):
    """A model that says it only demonstrates."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, demonstration=True)


class Recorder(BaseTracer):
    """A tracer that keeps all it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        """Keep nothing apart: `_start_trace` has it."""

    def _start_trace(self, run: Run) -> None:
        super()._start_trace(run)
        self.seen.append(run)

    @property
    def text(self) -> str:
        return "".join(
            f"{run.inputs}{run.outputs}{run.error}{run.events}{run.extra}" for run in self.seen
        )


def parts(backend: FakeBackend) -> list[str]:
    """Return which parts the model was asked for, in order."""
    return [call.part for call in backend.calls]


def streamed(items: Iterable[EmpathyStreamItem]) -> tuple[str, EmpathyReply]:
    """Return the streamed answer, put together, and the reply at the end."""
    seen = list(items)
    assert isinstance(seen[-1], EmpathyReply)
    return "".join(item.text for item in seen if isinstance(item, AnswerDelta)), seen[-1]


def configured(**settings: Any) -> dict[str, Any]:
    """Return a `configurable` of our settings."""
    return {f"empathy_{key}": value for key, value in settings.items()}
