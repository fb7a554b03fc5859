"""The floor finds risk, leaves everyday talk alone, and survives anything a person can paste."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empathy_agent.safety import floor
from empathy_agent.safety.floor import CALM_TURNS, RiskFinding, assess, assess_history
from empathy_agent.safety.gates import gate_of
from empathy_agent.safety.rules import RiskFile, compile_pattern, load_risk_rules
from empathy_agent.safety.text import OVERLAP_CHARS, WINDOW_CHARS, normalise, spans
from empathy_agent.vocabulary import RISK_ORDER

LINES = [
    line.split("\t")
    for line in Path(__file__).with_name("risk_lines.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
RISKY = [line for line in LINES if line[0] != "none"]
CALM = "今天和朋友去公园散步了"
IMMINENT = "我打算今晚就自杀"
ELEVATED = "我不想活了"
WATCH = "我快撑不下去了"


@pytest.mark.parametrize(("level", "language", "text"), LINES)
def test_each_line_gets_the_level_written_beside_it(level: str, language: str, text: str) -> None:
    assert assess(text).level == level


def test_the_table_covers_both_languages_and_all_levels() -> None:
    count = {key: sum(line[1] == key for line in LINES) for key in ("zh", "en")}
    assert count["zh"] >= 60
    assert count["en"] >= 40
    assert {(line[0], line[1]) for line in LINES} == {
        (level, lang) for level in RISK_ORDER for lang in ("zh", "en")
    }


@pytest.mark.parametrize(("level", "language", "text"), RISKY)
def test_risk_is_found_inside_a_long_everyday_post(level: str, language: str, text: str) -> None:
    filler = (
        "今天天气很好，我去买了菜。" * 60
        if language == "zh"
        else "Today I went shopping and it was fine. " * 40
    )
    assert RISK_ORDER.index(assess(f"{filler}{text}。{filler}").level) >= RISK_ORDER.index(level)


@pytest.mark.parametrize(
    "text",
    [
        "我不想活了", "我 不 想 活 了", "我不\u200b想\u200b活了", "我-不-想-活-了",
        "我…不想…活了", "我不\x00想活了",
        "\u202e我不想活了\u202c", "我不想🙂活了", "我，不，想，活，了",
        "我\n不\n想\n活\n了", "我不想活了" * 300,
    ],
)  # fmt: skip
def test_disguised_forms_are_read_like_the_plain_one(text: str) -> None:
    assert assess(text).level == "elevated"


@pytest.mark.parametrize(
    "text",
    [
        "Ｉ ｗａｎｔ ｔｏ ｄｉｅ",
        "I WANT TO DIE",
        "i w\u200dant to d\u00adie",
        "I don’t want to live anymore",
    ],
)
def test_disguised_english_is_read_like_the_plain_one(text: str) -> None:
    assert assess(text).level == "elevated"


def test_traditional_characters_are_read_like_simplified_ones() -> None:
    assert (
        assess("我準備自殺，遺書寫好了").level
        == assess("我准备自杀，遗书写好了").level
        == "imminent"
    )


@given(st.text(max_size=300))
@settings(max_examples=150, deadline=None)
def test_no_text_breaks_the_floor(text: str) -> None:
    assert assess(text).level in RISK_ORDER
    assert assess(text) == assess(text)


@pytest.mark.parametrize(
    "text", ["", " ", "\x00" * 50, "\u200f\u202e", "👨‍👩‍👧" * 40, "\ud800", "，。" * 50]
)
def test_texts_without_words_are_no_risk(text: str) -> None:
    assert assess(text) == RiskFinding()


def test_a_finding_holds_no_text_and_cannot_be_changed() -> None:
    finding = assess("我不想活了，小王")
    assert set(RiskFinding.model_fields) == {"level", "rules"}
    assert all(rule in {item.id for item in load_risk_rules().rule} for rule in finding.rules)
    with pytest.raises(ValueError, match="frozen"):
        finding.level = "none"  # type: ignore[misc]


@pytest.mark.parametrize("chars", [1, 319, 321, 5_000, 20_001])
def test_work_grows_linearly_because_pieces_have_a_bound(chars: int) -> None:
    found = spans("我" * chars)
    assert max(end - start for start, end in found) <= WINDOW_CHARS
    assert len(found) <= chars // (WINDOW_CHARS - OVERLAP_CHARS) + 1
    assert (found[0][0], found[-1][1]) == (0, chars)


def test_a_pattern_across_a_forced_cut_is_seen() -> None:
    assert {
        assess("好" * shift + "我不想活了" + "好" * 400).level
        for shift in range(WINDOW_CHARS - 10, WINDOW_CHARS + 10)
    } == {"elevated"}


def test_no_pattern_has_an_unbounded_repeat_over_any_character() -> None:
    file = load_risk_rules()
    for rule in file.rule:
        for pattern in (*rule.patterns, *rule.unless):
            assert not re.search(r"(?<!\\)(?:\.|\[\^[^\]]*\])[*+]", pattern), rule.id


@pytest.mark.parametrize("rule", load_risk_rules().rule, ids=lambda rule: rule.id)
def test_a_gate_never_shuts_out_a_match_of_the_lines_above(rule: object) -> None:
    file: RiskFile = load_risk_rules()
    compiled = next(item for item in file.rule if item == rule)
    for pattern in (compile_pattern(text, file.words) for text in compiled.patterns):
        gate = gate_of(pattern)
        for _, _, line in LINES:
            plain = normalise(line)
            if pattern.search(plain) and gate is not None:
                assert any(piece in plain for piece in gate)


SHAPES = ["a(?:bc|de)+f", "[xy]z?", "(?:ab|[cd])e{0,3}", "(?:a|b)?c", "a?b?"]


@given(st.sampled_from(SHAPES).flatmap(
    lambda pattern: st.tuples(st.just(pattern), st.from_regex(pattern, fullmatch=True))
))  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_every_match_opens_its_gate(case: tuple[str, str]) -> None:
    gate = gate_of(compile_pattern(case[0], {}))
    assert gate is None or any(piece in case[1] for piece in gate)


def test_an_unchanged_calm_history_is_no_risk() -> None:
    assert assess_history([CALM] * 3) == assess_history([]) == RiskFinding()


def test_a_level_is_held_while_the_person_changes_the_subject() -> None:
    finding = assess_history([IMMINENT, CALM])
    assert finding.level == "imminent"
    assert "zh.intent" in finding.rules


def test_levels_decay_by_the_documented_numbers_of_calm_turns() -> None:
    turns, levels = [IMMINENT], []
    for _ in range(sum(CALM_TURNS.values())):
        turns.append(CALM)
        levels.append(assess_history(turns).level)
    assert levels == ["imminent"] * 2 + ["elevated"] * 6 + ["watch"] * 3 + ["none"]


def test_new_risk_starts_the_count_anew() -> None:
    assert assess_history([IMMINENT, CALM, CALM, IMMINENT, CALM, CALM]).level == "imminent"


def test_weariness_is_calm_beside_imminent_but_not_beside_elevated() -> None:
    assert assess_history([IMMINENT, *[WATCH] * 3]).level == "elevated"
    assert assess_history([ELEVATED, *[WATCH] * 9]).level == "elevated"


def test_a_later_message_can_only_raise_the_level_at_once() -> None:
    assert [
        assess_history([CALM, WATCH, ELEVATED, IMMINENT][:n]).level for n in range(1, 5)
    ] == list(RISK_ORDER)


def test_a_sentence_cut_over_two_messages_is_read_as_one() -> None:
    assert assess_history(["我真的不想", "活了"]).level == "elevated"


def test_joining_messages_does_not_hear_the_earlier_one_twice() -> None:
    assert assess_history(["我不想活了", *["好的"] * 6]).level == "watch"


def test_rules_below_the_level_are_skipped_only_in_long_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = f"{IMMINENT}。{WATCH}"
    assert "zh.despair" in assess(text).rules
    monkeypatch.setattr(floor, "LONG_CHARS", 5)
    assert assess(text).level == "imminent"
    assert "zh.despair" not in assess(text).rules
