"""Whole turns over a chat model: the chain is complete and typed, and what changes it is obeyed."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import Field

from empathy_agent.backends.chat import ChatBackend
from empathy_agent.chain import EmpathyReply
from empathy_agent.config import Settings
from empathy_agent.errors import OutputParseError
from empathy_agent.layer_text import write_cause
from empathy_agent.testing.scripted_chat import (
    ChatCall,
    JsonChatModel,
    ScriptedChatModel,
    ToolChatModel,
    default_line,
)
from empathy_graph.agent import EmpathyAgent
from empathy_graph.events import AnswerDelta

POST = "最近他总是很晚才回消息，我一个人在宿舍胡思乱想，总觉得他不爱我了。"
ENGLISH = "I keep lying awake going over what my sister said at dinner."
MODELS = [ScriptedChatModel, ToolChatModel, JsonChatModel]
Layers = Literal["together", "one_by_one"]
LAYERS: tuple[Layers, ...] = ("together", "one_by_one")


def turn(
    model: ScriptedChatModel,
    post: str = POST,
    layers: Layers = "together",
    nodes: dict[str, object] | None = None,
    **settings: Any,
) -> EmpathyReply:
    with ChatBackend(model, layers=layers, prices=(1.0, 4.0)) as backend:
        return EmpathyAgent(backend, nodes=nodes, settings=Settings(**settings)).invoke(post)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("post", [POST, ENGLISH], ids=["zh", "en"])
def test_a_turn_has_a_typed_chain_exact_quotes_and_an_answer(
    kind: type[ScriptedChatModel], layers: Layers, post: str
) -> None:
    model = kind()
    reply = turn(model, post, layers)
    emotion, cause = reply.chain.emotion, reply.chain.cause
    intention, strategy = reply.chain.intention, reply.chain.strategy
    assert emotion is not None
    assert emotion.emotions is not None
    assert emotion.emotions[0].id == "anxiety"
    assert emotion.emotions[0].quote
    assert emotion.emotions[0].quote in post
    assert emotion.situation
    assert cause is not None
    assert cause.causes is not None
    assert cause.causes[0].quote in post  # type: ignore[operator]
    assert intention is not None
    assert intention.primary == "listening"
    assert strategy is not None
    assert strategy.acts == ("naming",)
    assert (reply.finish, reply.warnings) == ("stop", ())
    assert reply.answer == default_line(model.calls[-1])
    assert len(model.calls) == (2 if layers == "together" else 5)


@pytest.mark.parametrize("layers", LAYERS)
def test_usage_and_cost_are_the_sum_of_all_calls(layers: Layers) -> None:
    model = JsonChatModel(cached_tokens=100)
    usage = turn(model, layers=layers).usage
    count = len(model.calls)
    assert usage.reused_tokens == 100 * count
    assert usage.completion_tokens > 0
    sent = usage.evaluated_tokens + usage.reused_tokens - usage.completion_tokens
    assert usage.prompt_tokens < sent
    assert usage.cost == pytest.approx((sent + 4 * usage.completion_tokens) / 1e6)


def test_usage_is_estimated_where_the_provider_tells_none() -> None:
    usage = turn(ScriptedChatModel(has_usage=False)).usage
    assert usage.prompt_tokens > 300
    assert usage.completion_tokens > 50
    assert usage.cost > 0


def test_a_cost_that_the_provider_reports_goes_before_the_price_list() -> None:
    model = JsonChatModel(response={"token_usage": {"cost": 0.25}})
    assert turn(model).usage.cost == pytest.approx(0.5)


@pytest.mark.parametrize("layers", LAYERS)
async def test_the_async_reply_is_the_sync_reply(layers: Layers) -> None:
    with ChatBackend(JsonChatModel(), layers=layers) as backend:
        agent = EmpathyAgent(backend)
        pieces = [one async for one in agent.astream(POST)]
        assert pieces[-1] == agent.invoke(POST)
        said = [one.text for one in pieces if isinstance(one, AnswerDelta)]
    assert len(said) > 1


@pytest.mark.parametrize("post", [POST, ENGLISH], ids=["zh", "en"])
@pytest.mark.parametrize("fence", ["{}", "```\n{}\n```", "<think>hm</think>\n{}"])
def test_a_single_pass_is_one_call_that_is_read_as_a_chain(post: str, fence: str) -> None:
    model = ScriptedChatModel(script=[lambda call: fence.format(default_line(call))])
    reply = turn(model, post, mode="single_pass")
    assert len(model.calls) == 1
    assert "<L4>" in model.calls[0].question
    assert reply.chain.emotion is not None
    assert reply.chain.strategy is not None
    assert reply.answer.startswith("谢谢" if post is POST else "Thank you")
    assert (reply.finish, reply.warnings) == ("stop", ())


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("post", [POST, ENGLISH], ids=["zh", "en"])
def test_a_declared_support_is_obeyed_and_only_the_rest_of_layer_4_is_asked_for(
    layers: Layers, post: str
) -> None:
    model = JsonChatModel()
    reply = turn(model, post, layers, support="validation")
    assert reply.chain.intention is not None
    assert reply.chain.intention.declared
    assert reply.chain.strategy is not None
    assert reply.chain.strategy.acts == ("naming", "respecting", "supporting")
    assert ".this" not in reply.chain.strategy.text
    strategy = model.calls[-2]
    assert strategy.schema is not None
    assert list(strategy.schema["properties"]) == ["sentence"]
    assert reply.chain.strategy.text.split("。")[0].split(".")[0] in strategy.question
    assert len(model.calls) == (3 if layers == "together" else 4)


def test_a_layer_that_a_plugin_writes_makes_the_rest_be_asked_for_anew() -> None:
    text = write_cause([], [], "另有原因", "zh")

    def cause(state: Any, runtime: Any) -> dict[str, Any]:
        return {"cause": text}

    model = JsonChatModel()
    reply = turn(model, nodes={"cause": cause})
    assert reply.chain.cause is not None
    assert reply.chain.cause.text == text
    asked = [list(call.schema["properties"]) for call in model.calls if call.schema]
    assert asked == [["emotion", "cause", "intention", "strategy"], ["intention", "strategy"]]
    assert text in model.calls[1].question
    assert text in model.calls[-1].question


def test_layers_are_asked_for_again_after_forgetting() -> None:
    model = JsonChatModel()
    backend = ChatBackend(model)

    def cause(state: Any, runtime: Any) -> dict[str, Any]:
        backend.forget()
        return {"cause": state["emotion"]["text"]}

    with backend:
        EmpathyAgent(backend, nodes={"cause": cause}).invoke(POST)
    assert len(model.calls) == 3


def test_the_conversation_reaches_the_model_as_messages() -> None:
    model = JsonChatModel()
    with ChatBackend(model) as backend:
        turns: Any = [("system", "店规"), ("user", "你好"), ("ai", "我在"), ("user", POST)]
        EmpathyAgent(backend).invoke(turns)
    call = model.calls[0]
    assert [one.type for one in call.messages] == ["system", "human", "ai", "human", "human"]
    assert str(call.messages[0].text).endswith("店规")
    assert [one.text for one in call.messages[1:4]] == ["你好", "我在", POST]


def _emotions(quote: str) -> dict[str, Any]:
    item = {"emotion": "焦虑", "intensity": "3", "quote": quote}
    return {"emotions": [item], "situation": None}


@pytest.mark.parametrize(
    ("quote", "kept"),
    [
        ("他总是很晚才回消息", "他总是很晚才回消息"),
        ("「他总是很晚才回消息。」", "他总是很晚才回消息"),
        ("他从来不回消息", None),
        ("", None),
    ],
)
def test_a_quote_that_was_never_said_is_dropped_and_its_emotion_kept(
    quote: str, kept: str | None
) -> None:
    lines: list[Any] = [_emotions(quote), *[default_line] * 4]
    reply = turn(JsonChatModel(script=lines), layers="one_by_one")
    assert reply.chain.emotion is not None
    assert reply.chain.emotion.emotions is not None
    found = reply.chain.emotion.emotions[0]
    assert (found.id, found.intensity, found.quote) == ("anxiety", 3, kept)
    assert reply.chain.emotion.situation is None


def _fenced(call: ChatCall) -> str:
    return f"好的：\n```json\n{json.dumps(default_line(call), ensure_ascii=False)}\n```"


BROKEN: dict[str, Any] = {
    "no json": '{"emotions": [',
    "wrong values": {"emotions": [{"emotion": "桔梗", "intensity": 9, "quote": ""}]},
    "nothing": {"emotions": []},
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
def test_an_answer_that_does_not_fit_is_asked_for_once_more(
    kind: type[ScriptedChatModel], broken: Any
) -> None:
    model = kind(script=[broken, default_line, *[default_line] * 4])
    reply = turn(model, layers="one_by_one")
    assert reply.chain.emotion is not None
    assert reply.warnings == ()
    assert len(model.calls) == 6
    repair = model.calls[1].question
    assert "上一次的回答不能用" in repair
    assert "桔梗" not in repair
    assert '"焦虑"' in repair


@pytest.mark.parametrize("on_fault", ["safe_reply", "raise"])
def test_one_that_never_fits_is_a_parse_error_that_names_the_layer(on_fault: str) -> None:
    model = ScriptedChatModel(script=['{"桔梗": 1}'] * 2 + [default_line] * 4)
    if on_fault == "raise":
        with pytest.raises(OutputParseError) as caught:
            turn(model, layers="one_by_one", on_fault=on_fault)
        assert caught.value.node == "emotion"
        assert "桔梗" not in str(caught.value)
        return
    reply = turn(model, layers="one_by_one", on_fault=on_fault)
    assert reply.answer
    assert reply.chain.emotion is None


class Refusing(JsonChatModel):
    """A server that takes some ways of being asked and ignores or refuses the others."""

    knows: set[str] = Field(default_factory=set)
    refuses: bool = True

    def answer_to(self, call: ChatCall) -> Any:
        if call.mode in (*self.knows, "prompt") or call.schema is None:
            return default_line(call)
        if not self.refuses:
            return "好的，我来说说。"
        if call.mode != "json_schema":
            return NotImplementedError("no such thing")
        error = RuntimeError("unknown field")
        error.status_code = 500  # type: ignore[attr-defined]
        return error


@pytest.mark.parametrize("refuses", [True, False], ids=["refused", "answered in prose"])
@pytest.mark.parametrize("known", ["json_schema", "function_calling", "json_mode", "prompt"])
def test_the_best_way_that_works_is_found_and_remembered(known: str, refuses: bool) -> None:
    model = Refusing(knows={known}, refuses=refuses)
    model.script = [model.answer_to] * 20
    reply = turn(model, layers="one_by_one")
    ladder = ["json_schema", "function_calling", "json_mode", "prompt"]
    assert reply.warnings == ()
    tried = [call.mode for call in model.calls[:-1]]
    assert tried == [*ladder[: ladder.index(known) + 1], *[known] * 3]


def test_the_profile_spares_what_the_model_has_not() -> None:
    model = JsonChatModel(profile={"structured_output": False, "tool_calling": False})
    turn(model)
    assert model.calls[0].mode == "json_mode"


def test_a_way_that_is_set_is_the_only_one() -> None:
    model = Refusing()
    model.script = [model.answer_to] * 20
    with ChatBackend(model, structured="json_schema") as backend:
        reply = EmpathyAgent(backend).invoke(POST)
    assert {call.mode for call in model.calls if call.schema} == {"json_schema"}
    assert reply.chain.emotion is None


def test_json_in_a_fence_is_read() -> None:
    reply = turn(ScriptedChatModel(script=[_fenced, default_line]))
    assert reply.chain.strategy is not None
    assert reply.chain.strategy.acts == ("naming",)
