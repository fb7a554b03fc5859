"""Budgets per part: they reach the model, and a part that uses its budget up is closed and marked.

The same tests run over every backend that goes on with a text; the models skip themselves where they are missing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.chat import ChatBackend
from empathy_agent.backends.fake import FakeBackend
from empathy_agent.backends.requests import Completion, Delta, PartName, Request, Sink
from empathy_agent.config import Budgets, Sampling, Settings
from empathy_agent.models.resolver import open_backend
from empathy_agent.segments import LAYER_CLOSE, control
from empathy_agent.testing.scripted_chat import ScriptedChatModel
from empathy_agent.vocabulary import LAYERS
from empathy_graph.agent import EmpathyAgent
from empathy_graph.layers import ATTEMPTS
from empathy_graph.prompts import PARTS
from tests.graph.posts import POST

CHECKPOINT = Path(__file__).parents[2] / "trainers" / "checkpoints" / "empathy-tiny-zh"
SMALL = Budgets(emotion=5, cause=6, intention=4, strategy=3, answer=7)
"""Each another number, and less than any model writes."""


def _transformers() -> Backend:
    if importlib.util.find_spec("torch") is None or not CHECKPOINT.is_dir():
        pytest.skip("no torch or no checkpoint here")
    from empathy_agent.backends.transformers import TransformersBackend

    return TransformersBackend(CHECKPOINT, device_map="cpu", local_files_only=True)


OPENERS: dict[str, Callable[[], Backend]] = {
    "fake, tags are tokens": FakeBackend,
    "fake, tags are spelled": lambda: FakeBackend(control_tags=False),
    "a chat model": lambda: ChatBackend(ScriptedChatModel(), layers="one_by_one"),
    "the embedded model": open_backend,
    "its base in transformers": _transformers,
}
UNTRAINED = "its base in transformers"
"""It was never trained on the chain and may end its turn inside a part, or before it."""
MARKS = {
    "the embedded model": [pytest.mark.model],
    UNTRAINED: [pytest.mark.model, pytest.mark.slow],
}


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in OPENERS])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with OPENERS[request.param]() as backend:
        yield backend


@dataclass
class Call:
    """A request to the backend and how it ended."""

    request: Request
    finish: str = ""

    @property
    def part(self) -> PartName:
        assert self.request.guide is not None
        return self.request.guide.part


@pytest.fixture
def calls(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Return where every call of the backend is written down."""
    seen: list[Call] = []
    submit = backend.submit

    def noted(request: Request, sink: Sink) -> None:
        call = Call(request)
        seen.append(call)

        def heard(item: Delta | Completion | BaseException) -> None:
            if isinstance(item, Completion):
                call.finish = item.finish
            sink(item)

        submit(request, heard)

    monkeypatch.setattr(backend, "submit", noted)
    return seen


def _agent(backend: Backend, budgets: Budgets) -> EmpathyAgent:
    settings = Settings(budgets=budgets, sampling=Sampling(temperature=0, seed=7))
    return EmpathyAgent(backend, settings=settings)


def test_each_budget_reaches_the_model_with_its_part(backend: Backend, calls: list[Call]) -> None:
    _agent(backend, SMALL).invoke(POST)
    asked = {(call.part, call.request.max_new_tokens) for call in calls}
    assert asked == {(part, getattr(SMALL, part)) for part in PARTS}


def test_a_single_pass_may_take_all_budgets_together(backend: Backend, calls: list[Call]) -> None:
    _agent(backend, SMALL).invoke(POST, {"configurable": {"empathy_mode": "single_pass"}})
    assert {(call.part, call.request.max_new_tokens) for call in calls} == {("single_pass", 25)}


def test_a_part_that_uses_its_budget_up_is_closed_and_marked(
    backend: Backend, calls: list[Call], request: pytest.FixtureRequest
) -> None:
    reply = _agent(backend, SMALL).invoke(POST)
    last = {call.part: call for call in calls}
    cut = [name for name in LAYERS if last[name].finish == "length"]
    assert cut == list(LAYERS) or request.node.callspec.params["backend"] == UNTRAINED
    assert [name for name in LAYERS if getattr(reply.chain, name).finish == "length"] == cut
    assert {f"layer {name!r} reached its token budget" for name in cut} <= {*reply.warnings}
    assert (reply.finish == "length") == (last["answer"].finish == "length")
    if backend.capabilities.continues:  # a provider counts what it wrote, cut or not
        spent = reply.usage.completion_tokens
        assert spent <= ATTEMPTS * sum(SMALL.model_dump().values())


def test_what_follows_a_part_begins_with_its_closing_tag(
    backend: Backend, calls: list[Call]
) -> None:
    reply = _agent(backend, SMALL).invoke(POST)
    last = {call.part: call.request.segments for call in calls}
    for name, after in zip(LAYERS, PARTS[1:], strict=True):
        if getattr(reply.chain, name).text:
            count = len(last[name])
            assert last[after][:count] == last[name]
            written, closing = last[after][count : count + 2]
            assert not written.control
            assert closing == control(LAYER_CLOSE[name])


@pytest.mark.parametrize("has_tags", [True, False])
def test_a_budget_that_ends_within_a_closing_tag_leaves_no_piece_of_it(has_tags: bool) -> None:
    line = "焦虑(2)。处境：等消息。"
    for budget in range(len(line), len(line) + len(LAYER_CLOSE["emotion"]) + 1):
        backend = FakeBackend({"L1": line}, control_tags=has_tags)
        reading = _agent(backend, Budgets(emotion=budget)).invoke(POST).chain.emotion
        assert reading is not None
        assert reading.text == line
        tag = 1 if has_tags else len(LAYER_CLOSE["emotion"])
        assert reading.finish == ("stop" if budget >= len(line) + tag else "length")


def test_a_part_that_ends_by_itself_is_not_marked() -> None:
    reply = _agent(FakeBackend(), Budgets()).invoke(POST)
    assert (reply.finish, reply.warnings) == ("stop", ())
    assert {getattr(reply.chain, name).finish for name in LAYERS} == {"stop"}
