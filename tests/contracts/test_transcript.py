"""The transcript: rendered canonically, parsed strictly, and leniently without ever raising."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_agent.errors import OutputParseError
from empathy_agent.segments import ALL_TAGS, TAG
from empathy_agent.transcript import parse_lenient, parse_strict, render_chain, render_text
from empathy_agent.vocabulary import LAYERS, LayerName

CONTENTS: dict[LayerName, str] = {
    "emotion": "焦虑(3)。",
    "cause": "起因：晚回。",
    "intention": "建议。",
    "strategy": "理解。",
}
CANONICAL = (
    "<empathy_think>\n<L1>焦虑(3)。</L1>\n<L2>起因：晚回。</L2>\n<L3>建议。</L3>\n<L4>理解。</L4>\n"
    "</empathy_think>\n<answer>我在。</answer>"
)

contents = st.text(min_size=1).filter(lambda text: bool(text.strip()) and not TAG.search(text))
pieces = st.sampled_from(
    [*ALL_TAGS, "</l1>", "<ANSWER>", "< L2 >", "<L", "\n", "好", "<", "think>"]
)
strays = st.lists(st.one_of(pieces, st.text(max_size=4)), max_size=20).map("".join)


def test_a_chain_renders_to_the_canonical_text() -> None:
    assert render_text(CONTENTS, "我在。") == CANONICAL


def test_layers_render_in_order_and_a_missing_one_is_left_out() -> None:
    text = render_text({"cause": "b", "emotion": "a"}, None)
    assert text == "<empathy_think>\n<L1>a</L1>\n<L2>b</L2>\n</empathy_think>\n"


def test_tags_are_control_segments_and_everything_else_is_content() -> None:
    segments = render_chain(CONTENTS, "我在。")
    assert all((segment.text in ALL_TAGS) == segment.control for segment in segments)
    assert [segment.text for segment in segments if segment.control] == list(ALL_TAGS)
    assert {"\n", "我在。", *CONTENTS.values()} == {
        segment.text for segment in segments if not segment.control
    }


def test_no_segment_is_empty() -> None:
    assert all(segment.text for segment in render_chain({"emotion": ""}, ""))


@given(st.tuples(contents, contents, contents, contents), contents)
def test_what_is_rendered_parses_strictly_and_leniently(
    texts: tuple[str, str, str, str], answer: str
) -> None:
    layers = dict(zip(LAYERS, texts, strict=True))
    text = render_text(layers, answer)
    strict, lenient = parse_strict(text), parse_lenient(text)
    assert (strict.layers, strict.answer, strict.problems) == (layers, answer, ())
    assert lenient.layers == {name: content.strip() for name, content in layers.items()}
    assert (lenient.answer, lenient.problems) == (answer.strip(), ())


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("", "transcript"),
        ("好的。" + CANONICAL, "transcript"),
        (CANONICAL + "再见", "answer"),
        (CANONICAL + CANONICAL, "answer"),
        (CANONICAL.replace("</answer>", ""), "answer"),
        (CANONICAL.replace("我在。", " "), "answer"),
        (CANONICAL.replace("<L3>建议。</L3>\n", ""), "intention"),
        (CANONICAL.replace("</L2>", ""), "cause"),
        (CANONICAL.replace("起因：晚回。", ""), "cause"),
        (CANONICAL.replace("<L1>", "<l1>"), "emotion"),
        (CANONICAL.replace("</empathy_think>", ""), "transcript"),
        (CANONICAL.replace("L1>", "L9>").replace("L2>", "L1>").replace("L9>", "L2>"), "emotion"),
    ],
)
def test_the_strict_parse_names_the_part_at_fault_and_quotes_nothing(text: str, node: str) -> None:
    with pytest.raises(OutputParseError) as caught:
        parse_strict(text)
    assert caught.value.node == node
    assert not any(word in str(caught.value) for word in ("焦虑", "晚回", "建议", "我在", "再见"))


def test_the_strict_parse_allows_whitespace_between_tags() -> None:
    assert parse_strict("\n " + CANONICAL.replace("\n", "\n\n ") + "\n").layers == CONTENTS


@given(strays)
def test_no_text_makes_the_lenient_parse_raise(text: str) -> None:
    parsed = parse_lenient(text)
    assert all(parsed.layers.values())
    assert not any(TAG.search(content) for content in (parsed.answer, *parsed.layers.values()))


@given(strays)
def test_what_parses_strictly_parses_leniently_without_a_problem(text: str) -> None:
    try:
        strict = parse_strict(text)
    except OutputParseError:
        return
    assert parse_lenient(text).answer == strict.answer.strip()


@given(st.text().filter(lambda text: TAG.search(text) is None))
def test_a_text_without_tags_is_the_answer(text: str) -> None:
    assert parse_lenient(text).answer == text.strip()
    assert parse_lenient(text).layers == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CANONICAL.replace("</L2>", ""), "cause: not closed"),
        (CANONICAL.replace("</answer>", ""), "answer: not closed"),
        (CANONICAL.replace("L2>", "l2>").replace("answer>", "Answer>"), None),
        (CANONICAL.replace("<empathy_think>\n", ""), "transcript: incomplete think wrapper"),
        (CANONICAL + "<L1>又一次</L1>", "emotion: written twice"),
        ("好的。" + CANONICAL, "transcript: text outside the tags is dropped"),
        (
            "<answer>我在。</answer>" + CANONICAL.replace("<answer>我在。</answer>", ""),
            "transcript: wrong order",
        ),
    ],
)
def test_the_lenient_parse_recovers_everything_and_says_what_strayed(
    text: str, problem: str | None
) -> None:
    parsed = parse_lenient(text)
    assert (parsed.layers, parsed.answer) == (CONTENTS, "我在。")
    assert parsed.problems == ((problem,) if problem else ())


def test_a_chain_without_an_answer_takes_the_text_outside() -> None:
    parsed = parse_lenient("<L1>焦虑(3)。</L1>\n我在这里。")
    assert (parsed.layers, parsed.answer) == ({"emotion": "焦虑(3)。"}, "我在这里。")
    assert "answer: missing, the text outside the tags is used" in parsed.problems


def test_an_empty_text_has_an_empty_answer_and_says_so() -> None:
    assert parse_lenient(" \n").answer == ""
    assert "answer: missing" in parse_lenient("").problems
