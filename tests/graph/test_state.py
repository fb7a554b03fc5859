"""The state: who writes which key, what a checkpointer keeps, what a second turn finds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.config import Settings
from empathy_agent.errors import BackendError
from empathy_graph.builder import build_graph
from empathy_graph.state import OWNED_KEYS
from tests.graph.posts import ELEVATED, ENGLISH, IMMINENT, POST, ChineseOnly

THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}
PATHS: dict[str, tuple[Any, str, dict[str, Any], set[str]]] = {
    "graph": (FakeBackend, POST, {}, {"gate", "emotion", "cause", "intention", "respond"}),
    "single pass": (FakeBackend, POST, {"mode": "single_pass"}, {"gate", "single_pass"}),
    "crisis": (FakeBackend, IMMINENT, {}, {"gate", "fixed_reply"}),
    "language": (ChineseOnly, ENGLISH, {}, {"gate", "fixed_reply"}),
    "fault": (
        lambda: FakeBackend({"answer": BackendError("x"), "L1": BackendError("x")}),
        POST,
        {},
        {"gate", "emotion", "cause", "intention", "respond"},
    ),
}


@pytest.mark.parametrize(("make", "post", "settings", "nodes"), PATHS.values(), ids=list(PATHS))
def test_each_node_returns_only_the_keys_it_owns(
    make: Any, post: str, settings: dict[str, Any], nodes: set[str]
) -> None:
    graph = build_graph(make(), settings=Settings(**settings))
    seen: set[str] = set()
    for update in graph.stream({"messages": [HumanMessage(post)]}, stream_mode="updates"):
        for node, keys in update.items():
            seen.add(node)
            assert set(keys or {}) <= OWNED_KEYS[node]  # type: ignore[index]
    assert seen == nodes


def test_the_state_is_json_apart_from_the_messages() -> None:
    graph = build_graph(FakeBackend())
    for state in graph.stream({"messages": [HumanMessage(POST)]}, stream_mode="values"):
        plain = {key: value for key, value in state.items() if key != "messages"}
        assert json.loads(json.dumps(plain)) == plain


def test_a_result_holds_the_reply_and_the_conversation_with_it() -> None:
    result = build_graph(FakeBackend()).invoke({"messages": [HumanMessage(POST)]})
    assert set(result) == {"messages", "reply"}
    message = result["messages"][-1]
    assert isinstance(message, AIMessage)
    assert message.text == result["reply"]["answer"]
    assert message.response_metadata["empathy"] == result["reply"]
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] > 0


def test_the_turn_is_never_checkpointed_and_the_layers_are_cleared_by_the_next() -> None:
    saver = InMemorySaver()
    graph = build_graph(FakeBackend(), checkpointer=saver)
    graph.invoke({"messages": [HumanMessage(POST)]}, THREAD)
    first = graph.get_state(THREAD).values
    assert None not in (first["emotion"], first["strategy"])
    graph.invoke({"messages": [HumanMessage(IMMINENT)]}, THREAD)
    second = graph.get_state(THREAD).values
    assert [second[key] for key in ("emotion", "cause", "intention", "strategy")] == [None] * 4
    assert second["reply"]["finish"] == "crisis"
    assert len(second["messages"]) == 4
    for entry in saver.list(THREAD):
        assert "turn" not in entry.checkpoint["channel_values"]


def test_a_swapped_node_finds_no_layer_of_the_last_turn() -> None:
    found: list[Any] = []

    def emotion(state: Any, runtime: Any) -> dict[str, str]:
        found.append([state.get(key) for key in ("emotion", "cause", "intention", "strategy")])
        return {"emotion": "焦虑(2)。处境：等消息。"}

    graph = build_graph(FakeBackend(), nodes={"emotion": emotion}, checkpointer=InMemorySaver())
    for _ in range(2):
        graph.invoke({"messages": [HumanMessage(POST)]}, THREAD)
    assert found == [[None] * 4] * 2


def test_the_risk_does_not_fall_when_a_host_trims_the_history() -> None:
    graph = build_graph(FakeBackend(), checkpointer=InMemorySaver())
    graph.invoke({"messages": [HumanMessage("今天有点累")]}, THREAD)
    state = graph.invoke({"messages": [HumanMessage(ELEVATED, id="worst")]}, THREAD)
    assert state["reply"]["risk"] == "elevated"
    gone = [RemoveMessage(id=message.id) for message in state["messages"]]
    for _ in range(2):
        update: Any = {"messages": [*gone, HumanMessage("今天天气不错")]}
        state = graph.invoke(update, THREAD)
        assert state["reply"]["risk"] == "elevated"
        gone = []


def test_the_level_is_a_function_of_the_history_for_a_host_that_sends_all_of_it() -> None:
    graph = build_graph(FakeBackend())
    history: list[Any] = [HumanMessage(ELEVATED), AIMessage("我在"), HumanMessage("嗯")]
    levels = {graph.invoke({"messages": history})["reply"]["risk"] for _ in range(2)}
    assert levels == {"elevated"}


def test_a_host_graph_can_hold_ours_as_a_node() -> None:
    from langgraph.graph import END, START, MessagesState, StateGraph

    host = StateGraph(MessagesState)
    host.add_node("empathy", build_graph(FakeBackend()))
    host.add_edge(START, "empathy")
    host.add_edge("empathy", END)
    compiled = host.compile(checkpointer=InMemorySaver())
    state = compiled.invoke({"messages": [HumanMessage(POST)]}, THREAD)
    assert [type(message) for message in state["messages"]] == [HumanMessage, AIMessage]
