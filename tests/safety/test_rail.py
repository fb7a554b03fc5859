"""The rail keeps harmful sentences in and lets the rest through, for any cut of the stream."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empathy_agent.errors import ConfigError
from empathy_agent.safety.rail import OVERLAP_CHARS, WINDOW_CHARS, OutputRail, screen
from empathy_agent.safety.rules import load_rail_rules
from empathy_agent.vocabulary import Language

LINES = [
    line.split("\t")
    for line in Path(__file__).with_name("rail_lines.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
GOOD = [text for group, _, text in LINES if group == "pass"]
BAD = [line for line in LINES if line[0] != "pass"]
PIECES = [
    *GOOD,
    *(text for _, _, text in BAD),
    "……",
    "\n\n",
    "“好。”",
    " ",
    "3.5 ",
    "e.g. ",
    "嗯",
    "！？",
]


def run(
    text: str, cuts: list[int], *, hold: bool = False, lang: Language = "zh"
) -> tuple[str, OutputRail]:
    rail = OutputRail(lang=lang, where="answer", hold=hold)
    borders = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    released = "".join(rail.feed(text[start:end]) for start, end in pairwise(borders))
    return released + rail.close(), rail


@pytest.mark.parametrize(("group", "language", "text"), BAD)
def test_each_bad_line_is_vetoed_by_its_rule(group: str, language: Language, text: str) -> None:
    released, hits = screen(text, language, "answer")
    assert [hit.rule.split(".")[0] for hit in hits] == [group]
    assert text not in released


@pytest.mark.parametrize("text", GOOD)
def test_each_good_line_passes_unchanged(text: str) -> None:
    assert screen(text, "zh", "answer") == (text, ())


@pytest.mark.parametrize(("group", "language", "text"), BAD)
def test_a_bad_line_is_vetoed_between_good_ones_which_stay(
    group: str, language: Language, text: str
) -> None:
    released, hits = screen(f"听起来很难。{text} 我在听。", "zh", "emotion")
    assert released.replace(" ", "") == "听起来很难。我在听。"
    assert [(hit.where, hit.action) for hit in hits] == [("emotion", "dropped")]


@given(
    st.lists(st.sampled_from(GOOD), max_size=12),
    st.lists(st.integers(0, 2000), max_size=20),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_text_without_hits_comes_out_exactly_for_any_cut(
    parts: list[str], cuts: list[int], hold: bool
) -> None:
    text = "".join(parts)
    released, rail = run(text, cuts, hold=hold)
    assert (released, rail.hits) == (text, ())


@given(
    st.lists(st.sampled_from(PIECES), max_size=12),
    st.lists(st.integers(0, 2000), max_size=20),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_result_does_not_depend_on_how_the_stream_is_cut(
    parts: list[str], cuts: list[int], hold: bool
) -> None:
    text = "".join(parts)
    whole, rail_whole = run(text, [])
    cut, rail_cut = run(text, cuts, hold=hold)
    assert (cut, rail_cut.hits) == (whole, rail_whole.hits)


@given(st.text(max_size=500), st.lists(st.integers(0, 500), max_size=8))
@settings(max_examples=80, deadline=None)
def test_any_text_survives_any_cut(text: str, cuts: list[int]) -> None:
    released, rail = run(text, cuts)
    assert rail.hits or released == text


def test_a_sentence_is_released_only_once_it_is_complete() -> None:
    rail = OutputRail(lang="zh", where="answer", hold=False)
    assert rail.feed("听起来") == ""
    assert rail.feed("很难。") == ""
    assert rail.feed("我") == "听起来很难。"
    assert rail.close() == "我"


def test_holding_releases_nothing_before_close() -> None:
    rail = OutputRail(lang="zh", where="answer", hold=True)
    assert [rail.feed("听起来很难。"), rail.feed("我在。好" * 200)] == ["", ""]
    assert rail.close().startswith("听起来很难。我在。")


def test_a_long_sentence_is_released_at_the_bound() -> None:
    rail = OutputRail(lang="zh", where="answer", hold=False)
    assert len(rail.feed("好" * (WINDOW_CHARS + 1))) == WINDOW_CHARS - OVERLAP_CHARS
    assert len(rail.close()) == OVERLAP_CHARS + 1


@pytest.mark.parametrize("shift", range(WINDOW_CHARS - OVERLAP_CHARS - 8, WINDOW_CHARS + 8, 5))
def test_a_pattern_across_a_forced_cut_is_never_released(shift: int) -> None:
    released, hits = screen("好" * shift + "你得了抑郁症" + "好" * 500, "zh", "emotion")
    assert hits
    assert "抑郁症" not in released


def test_a_pattern_across_a_line_break_is_vetoed() -> None:
    released, hits = screen("你患有\n抑郁症。", "zh", "emotion")
    assert [hit.rule for hit in hits] == ["diagnosis.zh"]
    assert "抑郁症" not in released


def test_a_replacement_is_said_once_and_passes_the_rail_itself() -> None:
    released, hits = screen("你得了抑郁症。你患有焦虑症。", "zh", "answer")
    assert [hit.action for hit in hits] == ["replaced", "dropped"]
    for group in load_rail_rules().replacement.values():
        for lang, text in group.items():
            assert screen(text, lang, "answer") == (text, ())
    assert released == load_rail_rules().replacement["diagnosis"]["zh"]


def test_everything_may_be_dropped() -> None:
    assert screen("我会永远陪着你。", "zh", "answer")[0] == ""


@pytest.mark.parametrize(
    "text",
    [
        "你得了\u200b抑郁症。",
        "你 得 了 抑 郁 症。",
        "你得了**抑郁症**。",
        "你得了抑鬱症。",
        "舍曲林２０ｍｇ。",
    ],
)
def test_disguised_forms_are_vetoed(text: str) -> None:
    assert screen(text, "zh", "answer")[1]


@pytest.mark.parametrize(
    ("region", "text", "passes"),
    [
        ("CN", "可以拨打12356。", True), ("CN", "可以拨打12355。", False),
        ("CN", "Call 988.", False),
        ("US", "Call 988.", True),
        ("UK", "Call 116 123.", True), (None, "可以拨打12356。", False),
        (None, "热线 400-161-9995 一直在。", False),
        (None, "2019-2021年你很难。", True), (None, "你睡了3.5小时。", True),
        (None, "花了1200元。", True),
    ],
)  # fmt: skip
def test_only_numbers_of_the_region_pass(region: str | None, text: str, passes: bool) -> None:
    released, hits = screen(text, "zh", "answer", region=region)
    assert (released == text) is passes
    assert (hits == ()) is passes


def test_a_closed_rail_takes_no_more_text() -> None:
    rail = OutputRail(lang="zh", where="answer", hold=False)
    assert (rail.feed("好"), rail.close(), rail.close()) == ("", "好", "")
    with pytest.raises(ValueError, match="closed"):
        rail.feed("好")


def test_an_unknown_region_is_refused_before_any_text() -> None:
    with pytest.raises(ConfigError, match="unknown region"):
        OutputRail(lang="zh", where="answer", hold=False, region="XX")
