"""Faults: the turn is never lost, nothing of the person's is told, and a caller can still choose to see errors."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.backends.requests import Request
from empathy_agent.config import Settings
from empathy_agent.errors import (
    BackendCancelled,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ConfigError,
    ContextOverflow,
    EmpathyAgentError,
    NodeRunError,
)
from empathy_graph.agent import EmpathyAgent
from empathy_graph.builder import build_graph
from empathy_graph.events import AnswerDelta
from tests.graph.posts import ELEVATED, IMMINENT, POST, SECRET, configured, parts, streamed

NODE_OF = {"L1": "emotion", "L2": "cause", "L3": "intention"}
RAISE = Settings(on_fault="raise")


def quoting(request: Request) -> str:
    """Fail as a careless library does: with the person's words in the message."""
    raise ValueError(f"cannot continue: {POST}")


def closed() -> FakeBackend:
    backend = FakeBackend()
    backend.close()
    return backend


@pytest.mark.parametrize("part", ["L1", "L2", "L3"])
@pytest.mark.parametrize("line", [BackendError("scripted"), quoting], ids=["own", "foreign"])
def test_a_failed_layer_is_left_out_and_the_reply_comes(part: str, line: Any) -> None:
    reply = EmpathyAgent(FakeBackend({part: line})).invoke(POST)
    assert reply.finish == "stop"
    assert getattr(reply.chain, NODE_OF[part]) is None
    (warning,) = reply.warnings
    assert NODE_OF[part] in warning
    assert "Error" in warning
    assert reply.answer == EmpathyAgent(FakeBackend()).invoke(POST).answer


@pytest.mark.parametrize("part", ["L4", "answer", "single_pass"])
@pytest.mark.parametrize("post", [POST, ELEVATED])
def test_a_failed_answer_becomes_a_safe_reply(part: str, post: str) -> None:
    single = part == "single_pass"
    settings = Settings(region="CN", mode="single_pass" if single else "graph")
    agent = EmpathyAgent(FakeBackend({part: BackendError("scripted")}), settings=settings)
    answer, reply = streamed(agent.stream(post))
    assert reply.finish == "safe_reply"
    assert answer == reply.answer
    assert reply.answer.strip()
    assert ("12356" in reply.answer) == (post == ELEVATED)
    assert any(("single_pass" if single else "respond") in note for note in reply.warnings)


async def test_a_failed_answer_becomes_a_safe_reply_in_async_code_too() -> None:
    agent = EmpathyAgent(FakeBackend({"answer": BackendError("scripted")}))
    reply = await agent.ainvoke(POST)
    assert reply.finish == "safe_reply"
    assert reply.chain.strategy is not None


@pytest.mark.parametrize("post", [POST, ELEVATED])
def test_a_model_that_is_gone_still_leads_to_a_safe_reply(post: str) -> None:
    answer, reply = streamed(EmpathyAgent(closed()).stream(post))
    assert (reply.finish, answer) == ("safe_reply", reply.answer)
    assert any("gate" in note for note in reply.warnings)


def test_imminent_risk_is_answered_by_a_model_that_is_gone() -> None:
    reply = EmpathyAgent(closed(), settings=RAISE).invoke(IMMINENT)
    assert (reply.finish, reply.risk) == ("crisis", "imminent")


def test_an_answer_that_breaks_off_keeps_what_was_released() -> None:
    def slow(request: Request) -> str:
        return "我听见你了。" + "嗯，" * 400

    backend = FakeBackend({"answer": slow}, delay_s=0.002)
    agent = EmpathyAgent(backend, settings=Settings(deadline_s=1.0))
    answer, reply = streamed(agent.stream(POST))
    assert reply.finish == "safe_reply"
    assert answer == reply.answer
    assert reply.answer.startswith("我听见你了。")
    assert reply.answer.rstrip().endswith("再来。")
    assert any("BackendTimeout" in note for note in reply.warnings)


@pytest.mark.parametrize("part", ["L1", "L2", "L3", "L4", "answer"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_raise_names_the_node_and_quotes_nobody(
    part: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    agent = EmpathyAgent(FakeBackend({part: quoting}), settings=RAISE)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(EmpathyAgentError) as caught:
        await agent.ainvoke(POST) if is_async else agent.invoke(POST)
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    assert SECRET not in caplog.text
    links = [caught.value.__cause__, caught.value.__context__]
    assert SECRET not in repr(links)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_foreign_error_of_a_node_is_raised_as_ours_with_its_chain_cut(
    is_async: bool,
) -> None:
    def cause(state: Any, runtime: Any) -> dict[str, str]:
        raise KeyError(POST)

    agent = EmpathyAgent(FakeBackend(), settings=RAISE, nodes={"cause": cause})
    with pytest.raises(NodeRunError, match="'cause' failed with KeyError") as caught:
        await agent.ainvoke(POST) if is_async else agent.invoke(POST)
    assert caught.value.node == "cause"
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_a_foreign_error_in_the_gate_quotes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend()

    def render(messages: Any) -> Any:
        raise ValueError(messages)

    monkeypatch.setattr(backend, "render", render)
    with pytest.raises(NodeRunError) as caught:
        EmpathyAgent(backend, settings=RAISE).invoke(POST)
    assert caught.value.node == "gate"
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert EmpathyAgent(backend).invoke(POST).finish == "safe_reply"


@pytest.mark.parametrize("part", ["L1", "answer"])
def test_raise_is_ignored_from_elevated_up(part: str) -> None:
    agent = EmpathyAgent(FakeBackend({part: BackendError("scripted")}), settings=RAISE)
    with pytest.raises(BackendError):
        agent.invoke(POST)
    assert agent.invoke(ELEVATED).answer.strip()


@pytest.mark.parametrize("error", [ConfigError("x"), ContextOverflow("x"), BackendCancelled("x")])
@pytest.mark.parametrize("post", [POST, ELEVATED])
def test_bad_input_always_raises(error: Exception, post: str) -> None:
    with pytest.raises(type(error)):
        EmpathyAgent(FakeBackend({"L1": error})).invoke(post)


def test_a_post_that_cannot_fit_is_an_overflow() -> None:
    with pytest.raises(ContextOverflow) as caught:
        EmpathyAgent(FakeBackend(context_size=1100)).invoke(POST * 200)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_deadline_leads_to_a_safe_reply_in_time(is_async: bool) -> None:
    agent = EmpathyAgent(FakeBackend(delay_s=0.05), settings=Settings(deadline_s=0.2))
    begun = time.monotonic()
    reply = await agent.ainvoke(POST) if is_async else agent.invoke(POST)
    assert reply.finish == "safe_reply"
    assert time.monotonic() - begun < 5
    assert any("BackendTimeout" in note for note in reply.warnings)


def test_a_single_pass_that_fails_is_raised_where_that_is_asked_for() -> None:
    settings = Settings(mode="single_pass", on_fault="raise")
    agent = EmpathyAgent(FakeBackend({"single_pass": BackendError("scripted")}), settings=settings)
    with pytest.raises(BackendError, match="scripted"):
        agent.invoke(POST)
    assert agent.invoke(ELEVATED).finish == "safe_reply"


def test_a_deadline_can_be_raised() -> None:
    settings = Settings(deadline_s=0.1, on_fault="raise")
    with pytest.raises(BackendTimeout):
        EmpathyAgent(FakeBackend(delay_s=0.05), settings=settings).invoke(POST)
    with pytest.raises(BackendUnavailable):
        EmpathyAgent(closed(), settings=settings).invoke(POST)


def _is_cancelled(backend: FakeBackend) -> bool:
    events: list[threading.Event | None] = [call.request.cancel for call in backend.calls]
    return all(event is not None and event.is_set() for event in events)


def test_leaving_the_stream_early_cancels_the_model() -> None:
    backend = FakeBackend({"answer": "我在听。" * 500}, delay_s=0.002)
    for item in (stream := EmpathyAgent(backend).stream(POST)):
        if isinstance(item, AnswerDelta):
            break
    begun = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 2
    assert parts(backend)[-1] == "answer"
    assert _is_cancelled(backend)


async def test_leaving_the_async_stream_early_cancels_the_model() -> None:
    backend = FakeBackend({"answer": "我在听。" * 500}, delay_s=0.002)
    stream = EmpathyAgent(backend).astream(POST)
    async for item in stream:
        if isinstance(item, AnswerDelta):
            break
    begun = time.monotonic()
    await stream.aclose()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 2
    assert _is_cancelled(backend)


def test_a_graph_without_our_face_falls_back_as_well() -> None:
    graph = build_graph(FakeBackend({"answer": BackendError("scripted")}))
    state = graph.invoke(
        {"messages": [HumanMessage(POST)]}, {"configurable": configured(region="CN")}
    )
    assert state["reply"]["finish"] == "safe_reply"
    assert state["messages"][-1].text == state["reply"]["answer"]
