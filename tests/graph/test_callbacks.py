"""What hosts and tracers are told: every token once, and nobody's words to a tracer."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import END, START, MessagesState, StateGraph

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.backends.requests import Request
from empathy_agent.config import Settings
from empathy_agent.errors import BackendError
from empathy_graph.agent import EmpathyAgent
from empathy_graph.builder import build_graph
from tests.graph.posts import ELEVATED, IMMINENT, POST, SECRET, Recorder

GIVEN: Any = {"messages": [HumanMessage(POST)]}


class Listener(BaseCallbackHandler):
    """A handler that is no tracer."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []
        self.tokens: list[str] = []
        self.errors: list[BaseException] = []
        self.ends = 0

    def on_chat_model_start(self, serialized: Any, messages: Any, **given: Any) -> None:
        self.inputs.append(messages)

    def on_llm_new_token(self, token: Any, **given: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: Any, **given: Any) -> None:
        self.ends += 1

    def on_llm_error(self, error: BaseException, **given: Any) -> None:
        self.errors.append(error)


@pytest.mark.parametrize("post", [POST, ELEVATED, IMMINENT])
def test_tokens_reach_the_messages_mode_exactly_once(post: str) -> None:
    graph = build_graph(FakeBackend(), settings=Settings(region="CN"))
    given: Any = {"messages": [HumanMessage(post)]}
    seen: list[Any] = list(graph.stream(given, stream_mode=["messages", "values"]))
    chunks = [data[0] for mode, data in seen if mode == "messages"]
    answer = [data for mode, data in seen if mode == "values"][-1]["reply"]["answer"]
    assert "".join(chunk.text for chunk in chunks) == answer
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1


async def test_tokens_reach_the_messages_mode_of_an_async_host_once() -> None:
    graph = build_graph(FakeBackend())
    stream: Any = graph.astream(GIVEN, stream_mode="messages")
    texts = [chunk.text async for chunk, _ in stream]
    assert "".join(texts) == build_graph(FakeBackend()).invoke(GIVEN)["reply"]["answer"]
    assert len(texts) > 2


def test_tokens_of_an_agent_inside_a_hosts_node_reach_the_hosts_stream() -> None:
    agent = EmpathyAgent(FakeBackend())

    def answer(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [AIMessage(agent.invoke(state["messages"], config).answer, id="a")]}

    host = StateGraph(MessagesState)
    host.add_node("answer", answer)
    host.add_edge(START, "answer")
    host.add_edge("answer", END)
    seen: list[Any] = list(host.compile().stream(GIVEN, stream_mode="messages", subgraphs=True))
    texts = [chunk.text for _, (chunk, _) in seen if isinstance(chunk, AIMessageChunk)]
    assert "".join(texts) == agent.invoke(POST).answer


@pytest.mark.parametrize("face", ["agent", "graph"])
async def test_tokens_reach_astream_events(face: str) -> None:
    backend = FakeBackend()
    runnable: Any = EmpathyAgent(backend) if face == "agent" else build_graph(backend)
    given = POST if face == "agent" else GIVEN
    events = [event async for event in runnable.astream_events(given, version="v2")]
    chunks = [e["data"]["chunk"].text for e in events if e["event"] == "on_chat_model_stream"]
    assert "".join(chunks) == EmpathyAgent(FakeBackend()).invoke(POST).answer
    starts = [e["data"] for e in events if e["event"] == "on_chat_model_start"]
    assert [start["input"] for start in starts] == [{"messages": [[]]}]


@pytest.mark.parametrize("wrap", [list, CallbackManager], ids=["list", "manager"])
async def test_a_tracer_of_the_agent_sees_none_of_the_persons_words(wrap: Any) -> None:
    tracer = Recorder()
    config: RunnableConfig = {"callbacks": wrap([tracer])}
    agent = EmpathyAgent(FakeBackend())
    agent.invoke(POST, config)
    await agent.ainvoke(POST, config)
    assert SECRET not in tracer.text
    assert "回消息" not in tracer.text


async def test_a_tracer_of_a_host_sees_no_words_in_any_run_below_the_hosts_own() -> None:
    tracer = Recorder()
    config: RunnableConfig = {"callbacks": [tracer]}
    graph = build_graph(FakeBackend())
    graph.invoke(GIVEN, config)
    await graph.ainvoke(GIVEN, config)
    below = [run for run in tracer.seen if run.parent_run_id is not None]
    assert {run.name for run in below} == {"gate", "emotion", "cause", "intention", "respond"}
    for run in below:
        assert "回消息" not in f"{run.inputs}{run.outputs}{run.events}{run.extra}"


@pytest.mark.parametrize("face", ["agent", "graph"])
def test_a_tracer_sees_the_words_where_trace_content_is_set(face: str) -> None:
    tracer, settings = Recorder(), Settings(trace_content=True)
    if face == "agent":
        EmpathyAgent(FakeBackend(), settings=settings).invoke(POST, {"callbacks": [tracer]})
    else:
        build_graph(FakeBackend(), settings=settings).invoke(GIVEN, {"callbacks": [tracer]})
    models = [run for run in tracer.seen if run.run_type in ("llm", "chat_model")]
    assert len(models) == 1
    assert SECRET in str(models[0].inputs)


def test_the_tracer_of_the_environment_is_not_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_core.tracers import context
    from langchain_core.tracers import langchain as tracers

    made: list[str] = []

    def refuse(self: Any, *args: Any, **given: Any) -> None:
        made.append("tracer")
        raise RuntimeError("no tracer here")

    monkeypatch.setattr(context, "_tracing_v2_is_enabled", lambda: True)
    monkeypatch.setattr(tracers.LangChainTracer, "__init__", refuse)
    RunnableLambda(len).invoke("abc")
    assert made == ["tracer"]
    assert EmpathyAgent(FakeBackend()).invoke(POST).answer
    assert made == ["tracer"]


def test_an_ordinary_handler_hears_one_model_run_without_the_input() -> None:
    listener = Listener()
    reply = EmpathyAgent(FakeBackend()).invoke(POST, {"callbacks": [listener]})
    assert listener.inputs == [[[]]]
    assert "".join(listener.tokens) == reply.answer
    assert (listener.ends, listener.errors) == (1, [])


def test_a_handler_hears_that_an_answer_broke_off() -> None:
    listener = Listener()

    def fail(request: Request) -> str:
        raise ValueError(POST)

    agent = EmpathyAgent(FakeBackend({"answer": fail}), settings=Settings(on_fault="raise"))
    with pytest.raises(BackendError):
        agent.invoke(POST, {"callbacks": [listener]})
    assert [POST in str(error) for error in listener.errors] == [False]
    assert listener.ends == 0
