"""Single pass, the rail in the stream, several turns, settings per request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.config import Sampling, Settings
from empathy_agent.errors import ConfigError
from empathy_graph.agent import EmpathyAgent
from empathy_graph.builder import build_graph
from empathy_graph.events import AnswerDelta, LayerFinished
from tests.graph.posts import POST, SEEDED, configured, parts, streamed

SINGLE = Settings(mode="single_pass")
CLAIMS = ["你得了抑郁症。", "我也是真人。"]


def test_a_single_pass_gives_the_same_fields_as_the_graph() -> None:
    backend = FakeBackend()
    single = EmpathyAgent(backend, settings=SINGLE).invoke(POST)
    graph = EmpathyAgent(FakeBackend()).invoke(POST)
    assert parts(backend) == ["single_pass"]
    assert (single.answer, single.chain) == (graph.answer, graph.chain)
    assert (single.finish, single.warnings) == ("stop", ())


STRAYED: dict[str, tuple[str, str]] = {
    "no tags": ("我听见你了。", "我听见你了。"),
    "missing layers": ("<L1>焦虑(2)。</L1></empathy_think><answer>我在。", "我在。"),
    "wrong order": ("<L2>起因：忙。</L2><L1>焦虑(2)。</L1></empathy_think><answer>嗯。", "嗯。"),
    "cut tag": ("<L1>焦虑(2)。<answer>我听着。", "我听着。"),
    "twice": ("<L1>焦虑。</L1><L1>疲惫。</L1></empathy_think><answer>我在。", "我在。"),
}


@pytest.mark.parametrize(("line", "expected"), STRAYED.values(), ids=list(STRAYED))
def test_a_transcript_that_strayed_still_gives_an_answer_and_warnings(
    line: str, expected: str
) -> None:
    agent = EmpathyAgent(FakeBackend({"single_pass": line}), settings=SINGLE)
    answer, reply = streamed(agent.stream(POST))
    assert answer == reply.answer == expected
    assert reply.warnings
    assert all(note.startswith("single pass: ") for note in reply.warnings)


def test_a_layer_written_twice_is_shown_once() -> None:
    agent = EmpathyAgent(
        FakeBackend({"single_pass": STRAYED["twice"][0]}),
        settings=Settings(mode="single_pass", show_chain=True),
    )
    shown = [item.reading.text for item in agent.stream(POST) if isinstance(item, LayerFinished)]
    assert shown == ["焦虑。"]


def test_a_single_pass_without_any_answer_becomes_a_safe_reply() -> None:
    agent = EmpathyAgent(FakeBackend({"single_pass": "<L1>焦虑(2)。</L1>"}), settings=SINGLE)
    reply = agent.invoke(POST)
    assert reply.finish == "safe_reply"
    assert reply.chain.emotion is not None


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("mode", ["graph", "single_pass"])
def test_the_rail_stops_a_claim_in_the_stream_and_reports_it(claim: str, mode: Any) -> None:
    text = f"谢谢你说出来。{claim}我在这里听。"
    script = {"answer": text, "single_pass": f"</empathy_think><answer>{text}"}
    agent = EmpathyAgent(FakeBackend(script), settings=Settings(mode=mode))
    seen = []
    for item in agent.stream(POST):
        if isinstance(item, AnswerDelta):
            seen.append(item.text)
            assert claim not in "".join(seen)
    reply = agent.invoke(POST)
    assert claim not in reply.answer
    assert reply.answer.startswith("谢谢你说出来。")
    assert reply.answer.endswith("我在这里听。")
    assert [hit.where for hit in reply.rail] == ["answer"]


def test_a_shown_layer_passes_the_same_rail() -> None:
    script = {"L1": "焦虑(2)。你得了抑郁症。处境：等消息。"}
    agent = EmpathyAgent(FakeBackend(script), settings=Settings(show_chain=True))
    items = list(agent.stream(POST))
    shown = next(item.reading.text for item in items if isinstance(item, LayerFinished))
    assert "抑郁症" not in shown
    reply = streamed(items)[1]
    assert reply.chain.emotion is not None
    assert reply.chain.emotion.text == shown
    assert [hit.where for hit in reply.rail] == ["emotion"]


def test_an_empty_answer_is_drawn_once_more_with_another_seed() -> None:
    backend = FakeBackend({"answer": ["", "我在听你说。"]})
    reply = EmpathyAgent(backend, settings=SEEDED).invoke(POST)
    assert (reply.answer, reply.finish) == ("我在听你说。", "stop")
    assert [c.request.sampling.seed for c in backend.calls if c.part == "answer"] == [7, 8]


def test_a_second_attempt_that_ends_well_is_not_marked_as_cut() -> None:
    backend = FakeBackend({"answer": [" " * 600, "我在听你说。"]})
    reply = EmpathyAgent(backend).invoke(POST)
    assert (reply.answer, reply.finish) == ("我在听你说。", "stop")


def test_an_empty_or_repeating_layer_is_written_once_more() -> None:
    backend = FakeBackend({"L1": ["", "焦虑(2)。处境：等。"], "L2": ["好累" * 60, "起因：忙。"]})
    reply = EmpathyAgent(backend, settings=Settings(sampling=Sampling(temperature=0))).invoke(POST)
    assert parts(backend) == ["L1", "L1", "L2", "L2", "L3", "L4", "answer"]
    assert reply.chain.cause is not None
    assert reply.chain.cause.text == "起因：忙。"
    assert [c.request.sampling.temperature for c in backend.calls[:2]] == [0, 0.7]


def test_a_part_that_reaches_its_budget_is_closed_and_marked() -> None:
    settings = Settings(budgets={"emotion": 5, "answer": 12})
    reply = EmpathyAgent(FakeBackend(), settings=settings).invoke(POST)
    assert reply.chain.emotion is not None
    assert (reply.chain.emotion.finish, reply.finish) == ("length", "length")
    assert len(reply.warnings) == 2


def test_earlier_turns_are_in_the_prompt_and_earlier_chains_only_where_asked() -> None:
    backend = FakeBackend()
    graph = build_graph(backend)
    state = graph.invoke({"messages": [HumanMessage(POST)]})
    given: Any = {"messages": [*state["messages"], HumanMessage("他昨天回了")]}
    for settings, is_fed in (({}, False), ({"feed_earlier_chains": True}, True)):
        backend.calls.clear()
        graph.invoke(given, {"configurable": configured(**settings)})
        prompt = backend.calls[0].prompt
        assert POST in prompt
        assert state["reply"]["answer"] in prompt
        assert (state["reply"]["chain"]["cause"]["text"] in prompt) == is_fed


def test_earlier_replies_of_others_are_fed_as_they_are() -> None:
    backend = FakeBackend()
    agent = EmpathyAgent(backend, settings=Settings(feed_earlier_chains=True))
    agent.invoke([HumanMessage(POST), AIMessage("别担心"), AIMessage(""), HumanMessage("嗯嗯嗯")])
    assert backend.calls[0].prompt.count("### Assistant") == 2


def test_settings_of_a_call_override_those_of_the_agent() -> None:
    agent = EmpathyAgent(FakeBackend(), settings=Settings(support="advice", region="US"))
    by_config: Any = {"configurable": configured(support="listening")}
    context = Settings(support="validation")
    primaries = []
    for config, given in ((None, {}), (by_config, {}), (by_config, {"context": context})):
        reading = agent.invoke(POST, config, **given).chain.intention
        assert reading is not None
        primaries.append(reading.primary)
    assert primaries == ["advice", "listening", "validation"]


def test_an_unknown_setting_is_refused_with_a_near_name() -> None:
    config: Any = {"configurable": {"empathy_suport": "listening"}}
    with pytest.raises(ConfigError, match="did you mean 'empathy_support'"):
        EmpathyAgent("fake").invoke(POST, config)
    with pytest.raises(ConfigError, match="did you mean 'empathy_support'"):
        build_graph("fake").invoke({"messages": [HumanMessage(POST)]}, config)


@dataclass
class HostContext:
    """A context of the host's own."""

    user: str = "u"
    empathy: object = None


@pytest.mark.parametrize(
    ("context", "primary"),
    [
        (HostContext(), "listening"),
        (HostContext(empathy=Settings(support="advice")), "advice"),
        (HostContext(empathy="something else"), "listening"),
    ],
    ids=["foreign", "ours inside", "another thing"],
)
def test_a_hosts_own_context_object_does_no_harm(context: HostContext, primary: str) -> None:
    from langgraph.graph import END, START, MessagesState, StateGraph

    class HostState(MessagesState):
        reply: dict[str, Any]

    host = StateGraph(HostState, context_schema=HostContext)
    host.add_node("empathy", build_graph(FakeBackend()))
    host.add_edge(START, "empathy")
    host.add_edge("empathy", END)
    compiled: Any = host.compile()
    state = compiled.invoke({"messages": [HumanMessage(POST)]}, context=context)
    assert state["reply"]["chain"]["intention"]["primary"] == primary
