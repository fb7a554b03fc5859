"""The pieces by themselves: messages and back, schemas, cleaning, counting."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_agent.backends.chat import ChatBackend
from empathy_agent.backends.chat.answer import Cleaner
from empathy_agent.backends.chat.conversation import read, render
from empathy_agent.backends.chat.shapes import Form
from empathy_agent.backends.chat.tokens import Meter, estimate
from empathy_agent.backends.quotes import Quotes
from empathy_agent.backends.requests import Guide, Message, Request, Role
from empathy_agent.errors import ConfigError
from empathy_agent.layer_text import read_layer
from empathy_agent.segments import ALL_TAGS, ANSWER_OPEN, LAYER_OPEN, THINK_OPEN, Segment, control
from empathy_agent.testing.scripted_chat import JsonChatModel, ScriptedChatModel
from empathy_agent.transcript import render_chain
from empathy_agent.vocabulary import LAYERS, LayerName

ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@given(
    st.lists(
        st.builds(Message, st.sampled_from(ROLES), st.text() | st.sampled_from(ALL_TAGS)),
        min_size=1,
    )
)
def test_messages_are_recovered_exactly(messages: list[Message]) -> None:
    asked = read(Request((*render(messages), control(ANSWER_OPEN))))
    assert list(asked.messages) == messages
    assert (asked.part, asked.layers, asked.written) == ("answer", {}, "")


def test_the_transcript_is_recovered_up_to_the_open_part() -> None:
    layers: dict[LayerName, str] = {"emotion": "焦虑(2)。", "intention": "倾听。"}
    chain = render_chain({name: text for name, text in layers.items()}, None)
    opened = (*chain[:-2], control(LAYER_OPEN["strategy"]), Segment("命名感受。"))
    asked = read(Request((*render([Message("user", "你好")]), *opened)))
    assert (asked.part, asked.layers, asked.written) == ("strategy", layers, "命名感受。")
    asked = read(Request((*render([Message("user", "你好")]), *chain, control(ANSWER_OPEN))))
    assert (asked.part, asked.layers, asked.written) == ("answer", layers, "")


def test_the_guide_and_the_source_of_quotes_go_before_what_is_inferred() -> None:
    request = Request(
        (*render([Message("user", "你好")]), control(THINK_OPEN)),
        quotes=Quotes("原文"),
        guide=Guide("cause", "en", {"cause": "x"}),
    )
    asked = read(request)
    assert (asked.part, asked.lang, asked.post) == ("cause", "en", "原文")
    assert read(Request(request.segments)).part == "single_pass"


def _nodes(schema: Any) -> list[Any]:
    below = [
        *schema.get("properties", {}).values(),
        *([schema["items"]] if "items" in schema else []),
    ]
    return [schema, *(node for one in below for node in _nodes(one))]


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("names", [LAYERS, *[(name,) for name in LAYERS]], ids=str)
def test_the_schema_is_one_that_strict_modes_take(lang: Any, names: tuple[LayerName, ...]) -> None:
    schema = Form(names, lang, "").schema
    for node in _nodes(schema):
        assert set(node) <= {
            "title", "description", "type", "properties", "required", "items", "enum",
            "additionalProperties",
        }  # fmt: skip
        assert node["type"] in ("object", "array", "string", "integer")
        if node["type"] == "object":
            assert node["required"] == list(node["properties"])
            assert node["additionalProperties"] is False
    assert ('"焦虑"' in json.dumps(schema, ensure_ascii=False)) == (
        lang == "zh" and "emotion" in names
    )


POST = "最近他总是很晚才回消息，总觉得他不爱我了。"
FIELDS: dict[LayerName, dict[str, Any]] = {
    "emotion": {
        "emotions": [
            {"emotion": "anxiety", "intensity": 3, "quote": "他总是很晚才回消息"},
            {"emotion": "孤独", "intensity": "1", "extra": True},
        ],
        "situation": "异地恋</L1>两年",
    },
    "cause": {"causes": [{"text": "回应变慢", "quote": None}], "beliefs": []},
    "intention": {"primary": "建议", "others": ["validation"], "sentence": "想知道该不该开口"},
    "strategy": {"acts": ["naming", "Suggest"], "sentence": "先接住不安"},
}


@pytest.mark.parametrize("is_nested", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_fields_are_written_as_text_that_reads_back_typed(name: LayerName, is_nested: bool) -> None:
    data: dict[str, Any] = {name: FIELDS[name]} if is_nested else FIELDS[name]
    texts, problems = Form((name,), "zh", POST).read(data)
    assert problems == []
    assert not any(tag in texts[name] for tag in ALL_TAGS)
    reading = read_layer(name, texts[name], post=POST).model_dump()
    expected: dict[LayerName, tuple[str, Any]] = {
        "emotion": ("emotions", [("anxiety", 3), ("loneliness", 1)]),
        "cause": ("causes", ["回应变慢"]),
        "intention": ("primary", "advice"),
        "strategy": ("acts", ("naming", "suggesting")),
    }
    key, value = expected[name]
    found = reading[key]
    if name == "emotion":
        found = [(one["id"], one["intensity"]) for one in found]
    if name == "cause":
        found = [one["text"] for one in found]
    assert found == value


def test_problems_name_fields_and_quote_nothing() -> None:
    data = {"emotion": {"emotions": [{"emotion": "桔梗", "intensity": "桔梗"}]}, "strategy": "桔梗"}
    texts, problems = Form(("emotion", "strategy"), "zh", POST).read(data)
    assert texts == {}
    assert [one.split(":")[0] for one in problems] == [
        "emotion.emotions.0.emotion", "emotion.emotions.0.intensity", "strategy",
    ]  # fmt: skip
    assert "桔梗" not in "".join(problems)


WRAPPED = {
    "plain": "我在听。",
    "tag": "<answer>我在听。</answer>",
    "loud tag and blanks": "\n <ANSWER>\n我在听。</answer> 完",
    "fence": "```\n我在听。```",
    "named fence": "```markdown\n我在听。```\n",
    "thinking": "<think>他很难过</think>\n\n我在听。",
    "thinking, fence and tag": "<thinking>a</thinking>```\n<answer>我在听。</answer>\n```",
}


@pytest.mark.parametrize("text", WRAPPED.values(), ids=list(WRAPPED))
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_wrappers_are_taken_away_however_the_stream_is_cut(text: str, size: int) -> None:
    cleaner = Cleaner(("</answer>",), ANSWER_OPEN, 100)
    pieces = [cleaner.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(pieces) + cleaner.close() == "我在听。"
    assert cleaner.text == "我在听。"


@given(st.text(alphabet="<>/`thinkaswer\n 我。"), st.integers(1, 9))
def test_cleaning_does_not_depend_on_the_cuts(text: str, size: int) -> None:
    def cleaned(width: int) -> str:
        cleaner = Cleaner(("</answer>", "```"), ANSWER_OPEN, 20)
        pieces = [text[start : start + width] for start in range(0, len(text), width)]
        return "".join(map(cleaner.feed, pieces)) + cleaner.close()

    assert cleaned(size) == cleaned(max(1, len(text)))


@given(st.text(), st.integers(1, 50))
def test_the_meter_lets_pass_what_is_estimated_to_fit(text: str, budget: int) -> None:
    kept = Meter(budget).take(text)
    assert text.startswith(kept)
    assert estimate(kept) <= budget
    assert kept == text or estimate(text[: len(kept) + 1]) > budget


def test_tokens_are_counted_by_the_models_own_function_where_it_has_one() -> None:
    model = JsonChatModel(custom_get_token_ids=lambda text: list(range(len(text) * 2)))
    with ChatBackend(model) as backend:
        assert backend.count_tokens((Segment("abcd"),)) == 8
    with ChatBackend(JsonChatModel()) as backend:
        assert backend.count_tokens((Segment("abcd"), Segment("你好"))) == 3


@pytest.mark.parametrize(
    "given_",
    [
        {"layers": "all"},
        {"structured": "xml"},
        {"context_size": 0},
        {"max_parallel": 0},
        {"prices": (-1.0, 0.0)},
    ],
    ids=str,
)
def test_settings_out_of_range_are_config_errors(given_: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ChatBackend(JsonChatModel(), **given_)


def test_what_is_no_chat_model_is_a_config_error() -> None:
    bound: Any = ScriptedChatModel().bind(stop=["x"])
    with pytest.raises(ConfigError, match="constructor"):
        ChatBackend(bound)


def test_the_name_is_the_models_own_unless_one_is_given() -> None:
    with ChatBackend(ScriptedChatModel()) as backend:
        assert backend.name == "ScriptedChatModel"
    with ChatBackend(ScriptedChatModel(), name="demo") as backend:
        assert backend.name == "demo"
