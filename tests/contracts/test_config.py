"""Settings: their order, their ranges, and errors that name keys but never values."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from empathy_agent.config import Budgets, Sampling, Settings, detect_language, merge_settings
from empathy_agent.errors import ConfigError


def test_nothing_set_gives_the_base() -> None:
    base = Settings(lang="zh", sampling=Sampling(seed=7))
    assert merge_settings(base, None, None) == base
    assert merge_settings(Settings(), {"thread_id": "1", "checkpoint_ns": ""}, None) == Settings()


def test_configurable_overrides_the_constructor_and_the_context_overrides_both() -> None:
    base = Settings(lang="zh", mode="single_pass", show_chain=True)
    merged = merge_settings(
        base,
        {"empathy_lang": "en", "empathy_mode": "graph", "empathy_support": "listening"},
        Settings(lang="auto"),
    )
    assert merged == Settings(lang="auto", mode="graph", support="listening", show_chain=True)


def test_a_context_object_overrides_only_what_was_set_on_it() -> None:
    merged = merge_settings(Settings(lang="zh"), None, Settings(region="cn"))
    assert (merged.lang, merged.region) == ("zh", "cn")


def test_nested_settings_merge_field_by_field() -> None:
    merged = merge_settings(
        Settings(sampling=Sampling(temperature=0.1, seed=3)),
        {"empathy_sampling": {"top_k": 5}, "empathy_budgets": Budgets(answer=9)},
        Settings(sampling=Sampling(seed=4)),
    )
    assert merged.sampling == Sampling(temperature=0.1, top_k=5, seed=4)
    assert merged.budgets == Budgets(answer=9)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("empathy_langs", "did you mean 'empathy_lang'"),
        ("empathy_on_faults", "did you mean 'empathy_on_fault'"),
        ("empathy_zzzzzz", "known are budgets, deadline_s"),
    ],
)
def test_an_unknown_key_is_named_with_a_near_one(key: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{key!r}; {hint}")):
        merge_settings(Settings(), {key: "secret"}, None)


def test_an_unknown_nested_key_is_named_with_a_near_one() -> None:
    with pytest.raises(
        ConfigError,
        match=r"'empathy_sampling\.temprature'; did you mean 'empathy_sampling\.temperature'",
    ):
        merge_settings(Settings(), {"empathy_sampling": {"temprature": 1}}, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("empathy_lang", "我想死"),
        ("empathy_support", "我想死"),
        ("empathy_sampling", "我想死"),
        ("empathy_sampling", {"seed": "我想死"}),
        ("empathy_deadline_s", "我想死"),
        ("empathy_sampling", {"我想死": 1}),
        ("empathy_我想死", 1),
    ],
)
def test_an_invalid_value_is_never_quoted(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        merge_settings(Settings(), {key: value}, None)
    error: BaseException | None = caught.value
    assert "empathy_" in str(error)
    while error is not None:
        assert "我想死" not in str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"repeat_penalty": 0.0},
        {"seed": -1},
        {"unknown": 1},
    ],
)
def test_sampling_out_of_range_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Sampling.model_validate(values)


def test_settings_are_frozen_and_hide_their_input() -> None:
    with pytest.raises(ValidationError):
        Settings().lang = "zh"  # type: ignore[misc]
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"lang": "我想死"})
    assert "我想死" not in str(caught.value)


def test_budgets_are_at_least_one_token() -> None:
    with pytest.raises(ValidationError):
        Budgets(answer=0)


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("我最近很焦虑", "zh"),
        ("I cannot sleep", "en"),
        ("我每天都在看 YouTube 和 TikTok，停不下来", "zh"),
        ("My grandmother used to call me 宝贝 when I was small", "en"),
        ("……！？", "zh"),
        ("", "en"),
        ("😭", "en"),
    ],
)
def test_the_language_is_told_by_its_script(text: str, lang: str) -> None:
    assert detect_language(text) == lang
