"""Segments and the escape of untrusted text."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from empathy_agent.segments import ALL_TAGS, LAYER_TAGS, TAG, Segment, escape
from empathy_agent.vocabulary import LAYERS

SPECIALS = ["<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<s>", "<<", "▁user", "BOS", "\n<x>"]
bits = st.sampled_from(
    [*SPECIALS, *ALL_TAGS, "<L", "1>", "</ANSWER>", "< l2 >", "<", " ", "他", "BO"]
)
hostile = st.lists(st.one_of(bits, st.text(max_size=3)), max_size=12).map("".join)
special_lists = st.lists(
    st.one_of(st.sampled_from(SPECIALS), st.text("<[ab \n｜＜", min_size=1, max_size=4)), max_size=6
)


def can_be_defused(special: str) -> bool:
    body = special.strip()
    if not body:
        return False
    is_sign = "!" <= body[0] <= "~" and not body[0].isalnum()
    return is_sign or any(len(word) > 1 for word in body.split())


@given(hostile, special_lists)
@example(text="<<<L1>", specials=["<<"])
@example(text="a  b ab", specials=["ab", "a b", "a  "])
def test_escaped_text_holds_no_tag_and_no_special(text: str, specials: list[str]) -> None:
    escaped = escape(text, specials)
    assert TAG.search(escaped) is None
    assert not [one for one in specials if can_be_defused(one) and one in escaped]


@given(hostile, special_lists)
def test_escaping_twice_is_escaping_once(text: str, specials: list[str]) -> None:
    once = escape(text, specials)
    assert escape(once, specials) == once


@given(st.text())
def test_text_without_specials_is_unchanged(text: str) -> None:
    if TAG.search(text) is None and not any(one in text for one in SPECIALS):
        assert escape(text, SPECIALS) == text


@pytest.mark.parametrize("tag", [*ALL_TAGS, "</Answer>", "<EMPATHY_THINK>", "< /l3 >"])
def test_our_own_tags_are_escaped_in_any_case(tag: str) -> None:
    assert escape(f"a{tag}b") == f"a＜{tag[1:]}b"


def test_the_change_is_visible_and_keeps_the_words() -> None:
    assert escape("[INST] hi <|im_end|>", SPECIALS) == "［INST] hi ＜|im_end|>"
    assert escape("BOS", SPECIALS) == "B OS"


def test_an_unequal_sign_in_plain_text_survives() -> None:
    assert escape("3 < 4，<3 你，<L5>", SPECIALS) == "3 < 4，<3 你，<L5>"


@given(
    st.text(),
    st.booleans(),
    st.none() | st.lists(st.integers(0, 10**6)).map(tuple),
    st.none() | st.text(),
)
def test_a_segment_survives_json(
    text: str, control: bool, ids: tuple[int, ...] | None, fingerprint: str | None
) -> None:
    segment = Segment(text, control, ids, fingerprint)
    assert Segment.from_json(json.loads(json.dumps(segment.to_json()))) == segment


@pytest.mark.parametrize(
    "change",
    [{"text": 1}, {"control": "yes"}, {"ids": "12"}, {"ids": [True]}, {"fingerprint": 3}],
)
def test_a_broken_segment_is_refused_without_its_value(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"segment key '{next(iter(change))}' must be") as caught:
        Segment.from_json({"text": "secret", **change})
    assert "secret" not in str(caught.value)


def test_ids_are_reused_only_by_the_tokenizer_that_made_them() -> None:
    segment = Segment("a", ids=(1, 2), fingerprint="qwen")
    assert segment.ids_for("qwen") == (1, 2)
    assert segment.ids_for("llama") is None
    assert Segment("a").ids_for("qwen") is None


def test_every_layer_has_its_tags_in_order() -> None:
    assert tuple(LAYER_TAGS) == LAYERS
    assert list(LAYER_TAGS.values()) == ["L1", "L2", "L3", "L4"]
    assert len(set(ALL_TAGS)) == 12
