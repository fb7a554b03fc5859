"""Declared support is obeyed, and risk comes before everything else."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.chain import EmotionReading
from empathy_agent.config import Settings
from empathy_agent.vocabulary import SUPPORTS, Support
from empathy_graph.advice import AdviceFilter
from empathy_graph.agent import EmpathyAgent
from empathy_graph.events import AnswerDelta
from tests.graph.posts import ELEVATED, ENGLISH, IMMINENT, POST, ChineseOnly, parts, streamed

ADVISING = "等消息的夜里很难熬。我建议你先和他谈一谈。你可以试着早点睡。我在这里听你说。"
ENGLISH_ADVICE = "That sounds lonely. You should talk to her first. I am here to listen."


@pytest.mark.parametrize("support", list(SUPPORTS))
def test_a_declared_support_fills_layer_three_without_the_model(support: Support) -> None:
    backend = FakeBackend()
    reply = EmpathyAgent(backend, settings=Settings(support=support)).invoke(POST)
    assert reply.chain.intention is not None
    assert (reply.chain.intention.primary, reply.chain.intention.declared) == (support, True)
    assert parts(backend) == ["L1", "L2", "L4", "answer"]
    assert f"<L3>{reply.chain.intention.text}</L3>" in backend.calls[-1].prompt
    assert reply.chain.strategy is not None
    assert reply.chain.strategy.acts


@pytest.mark.parametrize("support", ["listening", "validation", "understanding"])
def test_unasked_advice_is_left_out_and_reported(support: Support) -> None:
    agent = EmpathyAgent(FakeBackend({"answer": ADVISING}), settings=Settings(support=support))
    answer, reply = streamed(agent.stream(POST))
    assert answer == reply.answer == "等消息的夜里很难熬。我在这里听你说。"
    assert [(hit.rule, hit.action) for hit in reply.rail] == [("unasked_advice.zh", "dropped")] * 2


@pytest.mark.parametrize("support", ["advice", "information", None])
def test_advice_stays_where_it_is_wanted_or_nothing_is_declared(support: Support | None) -> None:
    agent = EmpathyAgent(FakeBackend({"answer": ADVISING}), settings=Settings(support=support))
    reply = agent.invoke(POST)
    assert (reply.answer, reply.rail) == (ADVISING, ())


def test_english_advice_is_left_out_too() -> None:
    backend = FakeBackend({"answer": ENGLISH_ADVICE})
    reply = EmpathyAgent(backend, settings=Settings(support="listening")).invoke(ENGLISH)
    assert reply.answer == "That sounds lonely. I am here to listen."


def test_an_answer_of_nothing_but_advice_is_tried_again_and_then_replaced() -> None:
    script = {"answer": ["你应该早点睡。", "你应该和他谈。"]}
    backend = FakeBackend(script)  # type: ignore[arg-type]
    reply = EmpathyAgent(backend, settings=Settings(support="listening")).invoke(POST)
    assert parts(backend).count("answer") == 2
    assert reply.finish == "safe_reply"
    assert reply.answer.strip()
    second = FakeBackend({"answer": ["你应该早点睡。", "我在听你说。"]})
    again = EmpathyAgent(second, settings=Settings(support="listening")).invoke(POST)
    assert (again.answer, again.finish) == ("我在听你说。", "stop")


def test_advice_to_seek_help_is_kept_under_risk() -> None:
    line = "我听见你了。你可以先联系一个信任的人。"
    agent = EmpathyAgent(FakeBackend({"answer": line}), settings=Settings(support="listening"))
    assert line in agent.invoke(ELEVATED).answer


@pytest.mark.parametrize("cut", [1, 2, 5, 100])
def test_the_advice_filter_does_not_depend_on_how_the_stream_is_cut(cut: int) -> None:
    kept = AdviceFilter("zh")
    pieces = [ADVISING[i : i + cut] for i in range(0, len(ADVISING), cut)]
    assert "".join(map(kept.feed, pieces)) + kept.close() == "等消息的夜里很难熬。我在这里听你说。"


@pytest.mark.parametrize(
    ("region", "number"), [("CN", "12356"), ("US", "988"), (None, None)], ids=str
)
@pytest.mark.parametrize("mode", ["graph", "single_pass"])
def test_imminent_risk_is_answered_without_the_model(
    region: str | None, number: str | None, mode: str
) -> None:
    backend = FakeBackend()
    settings = Settings(region=region, mode=mode)
    answer, reply = streamed(EmpathyAgent(backend, settings=settings).stream(IMMINENT))
    assert backend.calls == []
    assert (reply.finish, reply.risk) == ("crisis", "imminent")
    assert answer == reply.answer
    assert reply.answer.strip()
    assert number is None or number in reply.answer


@pytest.mark.parametrize("mode", ["graph", "single_pass"])
def test_elevated_risk_holds_the_answer_and_adds_resources(mode: str) -> None:
    settings = Settings(region="CN", mode=mode)
    items = list(EmpathyAgent(FakeBackend(), settings=settings).stream(ELEVATED))
    deltas = [item.text for item in items if isinstance(item, AnswerDelta)]
    assert len(deltas) == 2
    assert "12356" not in deltas[0]
    assert "12356" in deltas[1]
    answer, reply = streamed(items)
    assert (reply.risk, reply.finish) == ("elevated", "stop")
    assert answer == reply.answer


def test_watch_and_elevated_steer_the_strategy() -> None:
    backend = FakeBackend()
    EmpathyAgent(backend).invoke(ELEVATED)
    strategy = next(call.prompt for call in backend.calls if call.part == "L4")
    assert "自杀" in strategy.rpartition("<L4>")[2]


def test_risk_of_an_earlier_turn_still_counts() -> None:
    backend = FakeBackend()
    reply = EmpathyAgent(backend).invoke(
        [HumanMessage(ELEVATED), AIMessage("我在"), HumanMessage("嗯")]
    )
    assert reply.risk == "elevated"


def test_layer_one_may_raise_the_risk_but_not_lower_it() -> None:
    def raising(state: object, runtime: object) -> dict[str, EmotionReading]:
        return {"emotion": EmotionReading(text="绝望(3)。", risk="imminent")}

    def lowering(state: object, runtime: object) -> dict[str, EmotionReading]:
        return {"emotion": EmotionReading(text="平静(1)。", risk="none")}

    backend = FakeBackend()
    raised = EmpathyAgent(backend, nodes={"emotion": raising}).invoke(POST)
    assert (raised.risk, raised.finish, backend.calls) == ("imminent", "crisis", [])
    kept = EmpathyAgent(FakeBackend(), nodes={"emotion": lowering}).invoke(ELEVATED)
    assert kept.risk == "elevated"


def test_a_model_made_for_chinese_says_so_to_english_without_being_asked() -> None:
    backend = ChineseOnly()
    reply = EmpathyAgent(backend, settings=Settings(region="US")).invoke(ENGLISH)
    assert backend.calls == []
    assert "Chinese only" in reply.answer
    assert reply.finish == "safe_reply"
    assert any("'en'" in note for note in reply.warnings)
    at_risk = EmpathyAgent(backend, settings=Settings(region="US")).invoke("I want to die")
    assert at_risk.risk == "elevated"
    assert "988" in at_risk.answer
    assert EmpathyAgent(backend).invoke(POST).finish == "stop"
