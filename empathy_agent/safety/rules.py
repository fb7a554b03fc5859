"""Load the rule files of the floor and the rail: TOML in, validated rules out.

The patterns are data, so that a psychologist can review them without reading Python. A pattern may
name a word list of its file as `{word}`. Files are read once, at first use, and a damaged file is
an error, never an empty rule set.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from empathy_agent.chain import Record
from empathy_agent.errors import ConfigError
from empathy_agent.vocabulary import Language, RiskLevel

RuleLanguage = Language
Hedge = Literal["negation", "other", "fiction", "past"]
_WORD = re.compile(r"\{([a-z_]+)\}")


class RiskRule(Record):
    """One rule of the floor."""

    id: str = Field(pattern=r"^(zh|en)\.[a-z_]+$")
    level: RiskLevel
    language: RuleLanguage
    patterns: tuple[str, ...] = Field(min_length=1)
    unless: tuple[str, ...] = ()
    """Patterns that, found anywhere in the same sentence, silence the rule."""
    hedges: tuple[Hedge, ...] = ("negation", "other", "fiction")
    """Which contexts may silence or lower a hit."""


class Context(Record):
    """How one language marks that a hit is not about the person here and now. All are patterns."""

    idioms: tuple[str, ...]
    """Fixed phrases that are blanked before any rule runs."""
    negation: str
    """Matches at the end of the words before a hit."""
    not_negation: str
    """Where this matches at the same place, the hit stands."""
    other: str
    """A subject that is somebody else."""
    self_words: str
    """The person themselves; after `other` it takes the subject back."""
    fiction: str
    """Words of story, study or news, anywhere in the sentence."""
    self_link: str
    """What ties a story to the person after all."""
    past: str
    """Words that place a hit in the past."""


class RiskFile(Record):
    """The floor's rule file."""

    words: dict[str, str]
    context: dict[Language, Context]
    rule: tuple[RiskRule, ...]

    @model_validator(mode="after")
    def _check(self) -> RiskFile:
        _check_rules([rule.id for rule in self.rule])
        for rule in self.rule:
            for pattern in (*rule.patterns, *rule.unless):
                compile_pattern(pattern, self.words)
        return self


class RailRule(Record):
    """One rule of the output rail."""

    id: str = Field(pattern=r"^[a-z_]+\.(zh|en)$")
    patterns: tuple[str, ...] = Field(min_length=1)
    unless: tuple[str, ...] = ()
    """Patterns that, found anywhere in the same sentence, let it pass."""


class RailFile(Record):
    """The rail's rule file."""

    replacement: dict[str, dict[Language, str]]
    """Per group (the part of a rule's id before the dot), what stands in an answer instead of a
    sentence that hits."""
    words: dict[str, str]
    rule: tuple[RailRule, ...]

    @model_validator(mode="after")
    def _check(self) -> RailFile:
        _check_rules([rule.id for rule in self.rule])
        for rule in self.rule:
            for pattern in (*rule.patterns, *rule.unless):
                compile_pattern(pattern, self.words)
        return self


def _check_rules(ids: list[str]) -> None:
    if len(set(ids)) != len(ids):
        raise ValueError("two rules share one id")


def compile_pattern(pattern: str, words: dict[str, str]) -> re.Pattern[str]:
    """Compile `pattern` after filling in the word lists it names.

    Raises:
        ValueError: If it names an unknown list or is no valid expression.
    """
    try:
        filled = _WORD.sub(lambda match: f"(?:{words[match.group(1)]})", pattern)
        return re.compile(filled)
    except (KeyError, re.error) as error:
        raise ValueError(f"pattern {pattern!r} cannot be compiled: {error}") from error


def compile_any(patterns: tuple[str, ...], words: dict[str, str]) -> re.Pattern[str] | None:
    """Compile several patterns into one alternation, None for no pattern."""
    if not patterns:
        return None
    return compile_pattern("|".join(f"(?:{pattern})" for pattern in patterns), words)


FileModel = TypeVar("FileModel", RiskFile, RailFile)


def _load(name: str, model: type[FileModel]) -> FileModel:
    text = resources.files("empathy_agent.safety").joinpath(name).read_text(encoding="utf-8")
    try:
        return model.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(
            f"the packaged rule file {name!r} is damaged; reinstall empathy-agent: {error}"
        ) from error


@cache
def load_risk_rules() -> RiskFile:
    """Read the floor's rules."""
    return _load("rules.toml", RiskFile)


@cache
def load_rail_rules() -> RailFile:
    """Read the rail's rules."""
    return _load("rail.toml", RailFile)
