"""Fixed texts are short, honest and pass our own rail; region packs are complete or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from empathy_agent.errors import ConfigError
from empathy_agent.safety import rules
from empathy_agent.safety.floor import assess
from empathy_agent.safety.policy import (
    ai_notice,
    care_reply,
    crisis_reply,
    resource_line,
    safe_reply,
    strategy_hint,
)
from empathy_agent.safety.rail import screen
from empathy_agent.safety.regions import load_regions
from empathy_agent.vocabulary import RISK_ORDER, Language

LANGS: tuple[Language, ...] = ("zh", "en")
REGIONS = [None, *load_regions().region]
PACK = """
[region.generic]
name_zh = "无"
name_en = "none"
[[region.generic.line]]
kind = "emergency"
name_zh = "当地急救"
name_en = "local emergency service"
source = "none"
url = "https://example.org/"
checked = 2026-11-22
"""
LINE = """
[region.XX]
name_zh = "甲"
name_en = "X"
[[region.XX.line]]
kind = "support"
name_zh = "甲线"
name_en = "X line"
number = "55 555"
hours_zh = "白天"
hours_en = "daytime"
source = "a test"
url = "https://example.org/"
checked = 2026-11-22
"""


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("lang", LANGS)
def test_a_crisis_reply_is_short_has_resources_and_ends_with_a_question(
    lang: Language, region: str | None
) -> None:
    for reply in (crisis_reply(lang, region), care_reply(lang, region)):
        check_crisis_text(reply, lang, region)


def check_crisis_text(reply: str, lang: Language, region: str | None) -> None:
    body, resources, question = reply.split("\n")
    assert 0 < len(body if lang == "zh" else body.split()) <= (120 if lang == "zh" else 60)
    assert resources == resource_line(lang, region)
    assert question.endswith(("？", "?"))
    assert "安全" in question or "safe" in question


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("lang", LANGS)
def test_every_fixed_text_passes_our_own_rail(lang: Language, region: str | None) -> None:
    texts = [
        crisis_reply(lang, region),
        care_reply(lang, region),
        ai_notice(lang),
        *(safe_reply(lang, region, level) for level in RISK_ORDER),
    ]
    for text in texts:
        assert screen(text, lang, "answer", region=region) == (text, ())


@pytest.mark.parametrize("lang", LANGS)
def test_without_a_region_no_number_is_named(lang: Language) -> None:
    assert not any(
        char.isdigit() for char in crisis_reply(lang, None) + safe_reply(lang, None, "elevated")
    )


def test_the_chinese_line_is_never_called_round_the_clock() -> None:
    line = next(item for item in load_regions().get("CN").line if item.number == "12356")
    assert "18" in line.hours_zh
    assert "18" in line.hours_en
    assert not any(word in line.hours_zh + line.hours_en for word in ("24", "全天", "昼夜"))


@pytest.mark.parametrize("lang", LANGS)
def test_a_safe_reply_is_honest_and_carries_help_from_elevated_up(lang: Language) -> None:
    for level in RISK_ORDER:
        text = safe_reply(lang, "CN", level)
        assert ("12356" in text) == (level in ("elevated", "imminent"))
        assert (
            level == "imminent"
            or ("没能把回复完整" if lang == "zh" else "could not complete") in text
        )


@pytest.mark.parametrize("lang", LANGS)
def test_hints_steer_watch_and_elevated_alone_and_name_a_person(lang: Language) -> None:
    assert [strategy_hint(level, lang) is None for level in RISK_ORDER] == [
        True,
        False,
        False,
        True,
    ]
    elevated = strategy_hint("elevated", lang) or ""
    assert ("信任的人" if lang == "zh" else "trusted person") in elevated
    assert not any(char.isdigit() for char in elevated)


def test_the_notice_says_what_this_is_not() -> None:
    assert all(word in ai_notice("zh") for word in ("人工智能", "不是真人", "诊断", "治疗"))
    assert all(word in ai_notice("en") for word in ("AI", "not a person", "diagnose", "treat"))


def test_every_number_has_a_source_a_date_and_hours_in_both_languages() -> None:
    for region in load_regions().region.values():
        for line in region.line:
            assert line.source
            assert line.checked.year >= 2026
            assert line.number is None or (line.hours_zh and line.hours_en)


def test_an_unknown_region_is_refused_with_a_near_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'CN'"):
        load_regions().get("CHN")
    with pytest.raises(ConfigError, match="known: CN, US"):
        crisis_reply("zh", "Atlantis")
    assert load_regions().get(" cn ") is load_regions().get("CN")


def test_a_host_can_bring_its_own_pack(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PACK + LINE, encoding="utf-8")
    pack = load_regions(path)
    assert "55 555" in crisis_reply("en", "XX", pack=pack)
    assert screen("Call 55 555.", "en", "answer", region="XX", pack=pack)[1] == ()


@pytest.mark.parametrize(
    "text",
    [
        LINE, "not toml [", PACK + LINE.replace('number = "55 555"', 'number = "call me"'),
        PACK + LINE.replace('source = "a test"', ""),
        PACK + LINE.replace("checked = 2026-11-22", ""),
        PACK + LINE.replace('hours_en = "daytime"', ""), PACK + LINE.replace("https://", "ftp://"),
        PACK.replace("source", 'number = "110"\nhours_zh = "a"\nhours_en = "a"\nsource'),
    ],
)  # fmt: skip
def test_a_damaged_pack_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        load_regions(path)


def test_a_missing_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_regions(tmp_path / "none.toml")


@pytest.mark.parametrize("pattern", ["(", "{no_such_list}"])
def test_a_pattern_that_cannot_be_compiled_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="cannot be compiled"):
        rules.compile_pattern(pattern, {})


def test_our_own_crisis_reply_read_back_by_the_floor_is_not_imminent() -> None:
    assert all(assess(crisis_reply(lang, None)).level != "imminent" for lang in LANGS)
