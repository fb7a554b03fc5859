"""Nobody but the provider sees a word: no tracer, callback, cache, log, error or stream of the host's."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tracers.langchain import LangChainTracer
from langgraph.graph import END, START, MessagesState, StateGraph

from empathy_agent.backends.chat import ChatBackend
from empathy_agent.backends.requests import Message, Request
from empathy_agent.config import Settings
from empathy_agent.errors import (
    BackendBusy,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ContextOverflow,
    EmpathyAgentError,
)
from empathy_agent.segments import ANSWER_OPEN, LAYER_OPEN, control
from empathy_agent.testing.scripted_chat import JsonChatModel, ScriptedChatModel
from empathy_graph.agent import EmpathyAgent
from empathy_graph.builder import build_graph

SECRET = "桔梗信箱"
POST = f"我把{SECRET}弄丢了，一晚上睡不着。"


def asking(backend: ChatBackend, opening: str = ANSWER_OPEN) -> Request:
    return Request((*backend.render([Message("user", POST)]), control(opening)))


class Listener(BaseCallbackHandler):
    """Keeps all it is told."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_chat_model_start(self, *given: Any, **named: Any) -> None:
        self.seen.append(given)

    def on_llm_new_token(self, token: Any, **given: Any) -> None:
        self.seen.append(token)


def test_a_callback_of_the_model_itself_sees_nothing() -> None:
    listener = Listener()
    model = JsonChatModel(callbacks=[listener], verbose=True)
    with ChatBackend(model) as backend:
        EmpathyAgent(backend).invoke(POST)
    assert listener.seen == []
    assert model.callbacks == [listener]


@pytest.mark.parametrize("layers", ["together", "one_by_one"])
async def test_a_callback_around_a_call_sees_only_the_answer(layers: Any) -> None:
    listener = Listener()
    with ChatBackend(JsonChatModel(), layers=layers) as backend:
        agent = EmpathyAgent(backend)
        answer = agent.invoke(POST, {"callbacks": [listener]}).answer
    told = [one for one in listener.seen if isinstance(one, str)]
    assert "".join(told) == answer
    assert len(listener.seen) == len(told) + 1


def test_langsmith_traces_nothing_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_API_KEY", "none")
    monkeypatch.setattr(LangChainTracer, "_start_trace", lambda self, run: seen.append(run))
    monkeypatch.setattr(LangChainTracer, "_persist_run_single", lambda self, run: seen.append(run))
    with ChatBackend(JsonChatModel()) as backend:
        for opening in (ANSWER_OPEN, LAYER_OPEN["emotion"]):
            backend.complete(asking(backend, opening))
    assert seen == []


@pytest.fixture
def cache() -> Iterator[InMemoryCache]:
    cache = InMemoryCache()
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


def test_the_hosts_cache_keeps_nothing(cache: InMemoryCache) -> None:
    model = JsonChatModel()
    with ChatBackend(model) as backend:
        EmpathyAgent(backend).invoke(POST)
        EmpathyAgent(backend).invoke(POST)
    assert len(model.calls) == 4
    assert cache._cache == {}


@pytest.mark.parametrize("layers", ["together", "one_by_one"])
def test_a_hosts_messages_stream_sees_only_the_answers_tokens(layers: Any) -> None:
    with ChatBackend(JsonChatModel(), layers=layers) as backend:
        graph = build_graph(backend)
        host = StateGraph(MessagesState)
        host.add_node("empathy", graph)
        host.add_edge(START, "empathy")
        host.add_edge("empathy", END)
        given: Any = {"messages": [HumanMessage(POST)]}
        seen: list[Any] = list(host.compile().stream(given, stream_mode="messages", subgraphs=True))
        answer = graph.invoke(given)["reply"]["answer"]
    texts = [chunk.text for _, (chunk, _) in seen if isinstance(chunk, AIMessageChunk)]
    assert "".join(texts) == answer
    assert {meta["langgraph_node"] for _, (_, meta) in seen} == {"respond"}


async def test_a_call_from_inside_a_runnable_is_no_child_of_it() -> None:
    with ChatBackend(JsonChatModel()) as backend:
        request = asking(backend)

        async def ask(given: str, config: RunnableConfig) -> str:
            return (await backend.acomplete(request)).text

        events = [one async for one in RunnableLambda(ask).astream_events(POST, version="v2")]
    assert {one["name"] for one in events} == {"ask"}


class RateLimitError(Exception):
    status_code = 429


class APIStatusError(Exception):
    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status_code = status


class APITimeoutError(Exception):
    pass


class APIConnectionError(Exception):
    pass


class AuthenticationError(Exception):
    pass


class ContextWindowExceededError(Exception):
    pass


FAULTS: list[tuple[Exception, type[EmpathyAgentError], bool]] = [
    (RateLimitError(SECRET), BackendBusy, True),
    (APITimeoutError(SECRET), BackendTimeout, True),
    (TimeoutError(SECRET), BackendTimeout, True),
    (APIConnectionError(SECRET), BackendUnavailable, True),
    (APIStatusError(SECRET, 503), BackendUnavailable, True),
    (APIStatusError(SECRET, 401), BackendUnavailable, False),
    (AuthenticationError(SECRET), BackendUnavailable, False),
    (APIStatusError(SECRET, 404), BackendUnavailable, False),
    (ContextWindowExceededError(SECRET), ContextOverflow, False),
    (APIStatusError(f"maximum context length is 4096, {SECRET}", 400), ContextOverflow, False),
    (APIStatusError(SECRET, 400), BackendError, False),
    (KeyError(SECRET), BackendError, False),
]


@pytest.mark.parametrize("opening", [ANSWER_OPEN, LAYER_OPEN["emotion"]], ids=["answer", "layer"])
@pytest.mark.parametrize(
    ("fault", "kind", "retryable"), FAULTS, ids=[repr(f)[:24] for f, _, _ in FAULTS]
)
def test_a_providers_error_is_told_by_its_kind_alone(
    fault: Exception,
    kind: type[BackendError],
    retryable: bool,
    opening: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    cause = APIStatusError(SECRET, 200)
    fault.__cause__ = cause
    model = ScriptedChatModel(script=[fault])
    with ChatBackend(model) as backend, pytest.raises(kind) as caught:
        backend.complete(asking(backend, opening))
    assert type(caught.value) is kind
    assert caught.value.retryable is retryable
    assert type(fault).__name__ in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert SECRET not in f"{caught.value!r}{caplog.text}{capfd.readouterr()}"


def test_a_status_below_the_surface_counts() -> None:
    fault = RuntimeError(SECRET)
    fault.__cause__ = RateLimitError(SECRET)
    with ChatBackend(ScriptedChatModel(script=[fault])) as backend, pytest.raises(BackendBusy):
        backend.complete(asking(backend))


def test_a_turn_tells_nothing_of_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    faults: list[Any] = [APIStatusError(SECRET, 500)] * 9
    with ChatBackend(ScriptedChatModel(script=faults)) as backend:
        reply = EmpathyAgent(backend).invoke(POST)
    assert (reply.finish, bool(reply.answer)) == ("safe_reply", True)
    assert SECRET not in reply.model_dump_json() + caplog.text


def test_a_fault_is_raised_where_the_host_wants_it() -> None:
    with ChatBackend(ScriptedChatModel(script=[RateLimitError(SECRET)])) as backend:
        agent = EmpathyAgent(backend, settings=Settings(on_fault="raise"))
        with pytest.raises(BackendBusy) as caught:
            agent.invoke(POST)
    assert SECRET not in repr(caught.value)


def test_nothing_is_kept_after_the_answer() -> None:
    backend = ChatBackend(JsonChatModel())
    with backend:
        EmpathyAgent(backend).invoke(POST)
        gc.collect()
        kept = [one for one in gc.get_objects() if type(one).__name__ == "_Plan"]
    assert kept == []


def test_importing_the_package_imports_no_langchain() -> None:
    code = (
        "import sys, json, empathy_agent.backends.chat;"
        "print(json.dumps([m for m in sys.modules if m.startswith(('langchain', 'langsmith'))]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout
    assert json.loads(told) == []
