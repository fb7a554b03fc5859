"""The agent as a LangChain runnable: what goes in, what comes out, and in which order."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.chain import EmpathyReply
from empathy_agent.config import Settings
from empathy_agent.errors import ConfigError
from empathy_graph.agent import EmpathyAgent
from empathy_graph.events import AnswerDelta, LayerFinished, LayerStarted, RiskAssessed
from tests.graph.posts import ENGLISH, POST, SEEDED, configured, parts, streamed

INPUTS: dict[str, Any] = {
    "text": POST,
    "message": HumanMessage(POST),
    "messages": [HumanMessage(POST)],
    "tuples": [("user", POST)],
    "dicts": [{"role": "user", "content": POST}],
    "dict of a text": {"text": POST},
    "dict of messages": {"messages": [("user", POST)]},
    "prompt value": ChatPromptTemplate.from_messages([("user", "{post}")]).invoke({"post": POST}),
    "content blocks": [HumanMessage([{"type": "text", "text": POST}])],
}


@pytest.fixture
def agent() -> EmpathyAgent:
    return EmpathyAgent(FakeBackend(), settings=SEEDED)


@pytest.mark.parametrize("given", INPUTS.values(), ids=list(INPUTS))
def test_every_form_of_input_gets_the_same_reply(agent: EmpathyAgent, given: Any) -> None:
    assert agent.invoke(given) == EmpathyAgent(FakeBackend(), settings=SEEDED).invoke(POST)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"text": POST, "messages": [("user", POST)]},
        17,
        [("seeker", "x", "y")],
        [("nobody", POST)],
        [AIMessage("我在")],
        [],
        [HumanMessage("")],
    ],
    ids=str,
)
def test_input_that_cannot_be_read_is_a_config_error_without_its_words(
    agent: EmpathyAgent, given: Any
) -> None:
    with pytest.raises(ConfigError) as caught:
        agent.invoke(given)
    assert POST not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_reply_has_a_chain_an_answer_and_usage(agent: EmpathyAgent) -> None:
    reply = agent.invoke(POST)
    assert (reply.risk, reply.finish, reply.model, reply.rail, reply.warnings) == (
        "none", "stop", "fake", (), (),
    )  # fmt: skip
    chain = reply.chain
    assert None not in (chain.emotion, chain.cause, chain.intention, chain.strategy)
    assert chain.emotion is not None
    assert chain.intention is not None
    assert chain.emotion.emotions is not None
    assert chain.emotion.emotions[0].quote == "最近他总是很晚才回消息"
    assert chain.intention.primary == "listening"
    assert not chain.intention.declared
    assert reply.usage.completion_tokens > len(reply.answer)
    assert EmpathyReply.model_validate_json(reply.model_dump_json()) == reply


async def test_the_async_reply_is_the_sync_reply(agent: EmpathyAgent) -> None:
    fresh = EmpathyAgent(FakeBackend(), settings=SEEDED)
    assert await agent.ainvoke(POST) == fresh.invoke(POST)


async def test_batches_keep_their_order(agent: EmpathyAgent) -> None:
    posts: list[Any] = [POST, ENGLISH, "考试没考好"]
    answers = [reply.answer for reply in agent.batch(posts)]  # type: ignore[union-attr]
    again = [reply.answer for reply in await agent.abatch(posts)]  # type: ignore[union-attr]
    assert answers == again
    assert len(set(answers)) == 3
    assert "lying awake" in answers[1]
    assert "考试没考好" in answers[2]


async def test_both_streams_yield_the_same_items(agent: EmpathyAgent) -> None:
    sync = list(EmpathyAgent(FakeBackend(), settings=SEEDED).stream(POST))
    assert [item async for item in agent.astream(POST)] == sync


def test_the_chain_is_hidden_by_default(agent: EmpathyAgent) -> None:
    items = list(agent.stream(POST))
    assert [type(item) for item in items[:1]] == [RiskAssessed]
    assert {type(item) for item in items[1:-1]} == {AnswerDelta}
    answer, reply = streamed(items)
    assert answer == reply.answer
    assert len(items) > 4


@pytest.mark.parametrize("mode", ["graph", "single_pass"])
def test_a_shown_chain_comes_layer_by_layer_before_the_answer(
    agent: EmpathyAgent, mode: str
) -> None:
    config = {"configurable": configured(show_chain=True, mode=mode)}
    items = list(agent.stream(POST, config))  # type: ignore[arg-type]
    layers = [item.layer for item in items if isinstance(item, LayerFinished)]
    assert layers == ["emotion", "cause", "intention", "strategy"]
    assert [item.layer for item in items if isinstance(item, LayerStarted)] == layers
    first_delta = next(i for i, item in enumerate(items) if isinstance(item, AnswerDelta))
    last_layer = max(i for i, item in enumerate(items) if isinstance(item, LayerFinished))
    assert last_layer < first_delta
    for layer in layers:
        kinds = [type(i) for i in items if getattr(i, "layer", None) == layer]
        assert kinds == [LayerStarted, LayerFinished]


def test_a_sequence_hands_the_reply_to_the_next_step(agent: EmpathyAgent) -> None:
    def show(reply: Any) -> str:
        return f"{type(reply).__name__}:{reply.answer}"

    chain = agent | RunnableLambda(show)
    expected = f"EmpathyReply:{agent.invoke(POST).answer}"
    assert chain.invoke(POST) == expected
    assert list(chain.stream(POST)) == [expected]


async def test_an_async_sequence_hands_the_reply_to_the_next_step(agent: EmpathyAgent) -> None:
    def finish(reply: Any) -> str:
        return str(reply.finish)

    chain = agent | RunnableLambda(finish)
    assert [item async for item in chain.astream(POST)] == ["stop"]


def test_the_schemas_can_be_had_as_json(agent: EmpathyAgent) -> None:
    given, made = agent.get_input_jsonschema(), agent.get_output_jsonschema()
    assert {one.get("type") for one in given["anyOf"]} == {"string", "array", "object"}
    assert set(made["properties"]) >= {"answer", "chain", "risk", "finish", "warnings"}
    json.dumps([given, made])


def test_a_hosts_system_message_reaches_the_model() -> None:
    backend = FakeBackend()
    EmpathyAgent(backend).invoke([SystemMessage("说话短一点"), HumanMessage(POST)])
    assert "说话短一点" in backend.calls[0].prompt


def test_the_four_nodes_and_the_answer_continue_one_prefix() -> None:
    backend = FakeBackend()
    EmpathyAgent(backend).invoke(POST)
    assert parts(backend) == ["L1", "L2", "L3", "L4", "answer"]
    prompts = [call.prompt for call in backend.calls]
    for earlier, later in pairwise(prompts):
        assert later.startswith(earlier)


def test_an_agent_closes_only_the_model_it_opened() -> None:
    own = FakeBackend()
    with EmpathyAgent(own) as agent:
        assert agent.notice("en").startswith("I am an AI")
    assert not own.closed
    with EmpathyAgent("fake") as opened:
        backend = opened.backend
    assert backend.closed


def test_a_wrong_region_is_refused_when_the_agent_is_built_or_called() -> None:
    with pytest.raises(ConfigError, match="region"):
        EmpathyAgent("fake", settings=Settings(region="Atlantis"))
    with pytest.raises(ConfigError, match="region"):
        EmpathyAgent("fake").invoke(POST, {"configurable": configured(region="Atlantis")})
