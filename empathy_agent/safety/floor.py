"""Assess a person's words for risk, deterministically, before any model runs.

`assess` reads one text, `assess_history` the person's messages of a conversation, oldest first.
Both are pure functions: no model, no network, no clock. A text is brought into plain form
(`safety.text`), idioms are blanked, and each rule of `rules.toml` is tried on each sentence; a hit
that is negated is silenced, one that is about somebody else lowered to `watch`, one in a story or a
study silenced. A finding names rules and a level and never holds the person's words.

The level of a history is sticky. A held `imminent` falls to `elevated` after 3 calm turns,
`elevated` to `watch` after 6, `watch` to `none` after 3. A turn is calm if its own level is `none`,
or at most `watch` while `imminent` is held; a turn that is lower but not calm neither counts nor
resets; a turn at the held level or above starts the count anew.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from empathy_agent.chain import Record
from empathy_agent.safety.gates import gate_of
from empathy_agent.safety.rules import (
    Context,
    RiskRule,
    compile_any,
    compile_pattern,
    load_risk_rules,
)
from empathy_agent.safety.text import normalise, spans
from empathy_agent.vocabulary import RISK_ORDER, Language, RiskLevel, max_risk

CALM_TURNS: Mapping[RiskLevel, int] = MappingProxyType({"imminent": 3, "elevated": 6, "watch": 3})
"""How many calm turns let a held level fall by one step."""
FRAGMENT_CHARS = 16
"""Two messages in a row that are at most this long are also read as one: people press enter inside
a sentence."""
LONG_CHARS = 20_000
"""In a longer text, rules below a level already found are not tried: they could not change it."""
_PREFIX_CHARS = 48
_BLANK = "□"


class RiskFinding(Record):
    """A level and the ids of the rules that led to it, never the text."""

    level: RiskLevel = "none"
    rules: tuple[str, ...] = ()


class _Hedges(NamedTuple):
    idioms: re.Pattern[str]
    negation: re.Pattern[str]
    not_negation: re.Pattern[str]
    other: re.Pattern[str]
    self_words: re.Pattern[str]
    fiction: re.Pattern[str]
    self_link: re.Pattern[str]
    past: re.Pattern[str]


class _Rule(NamedTuple):
    rule: RiskRule
    patterns: tuple[tuple[frozenset[str] | None, re.Pattern[str]], ...]
    """Each with its gate."""
    unless: re.Pattern[str] | None
    hedges: _Hedges


def _compile_context(context: Context, words: dict[str, str]) -> _Hedges:
    idioms = compile_any(context.idioms, words)
    assert idioms is not None, "a context has idioms"
    single = (
        compile_pattern(getattr(context, name), words)
        for name in (
            "negation",
            "not_negation",
            "other",
            "self_words",
            "fiction",
            "self_link",
            "past",
        )
    )
    return _Hedges(idioms, *single)


@cache
def _compiled() -> tuple[tuple[_Rule, ...], Mapping[Language, _Hedges]]:
    file = load_risk_rules()
    hedges = {
        language: _compile_context(context, file.words)
        for language, context in file.context.items()
    }
    rules = []
    for rule in sorted(file.rule, key=lambda rule: -_rank(rule.level)):
        patterns = [compile_pattern(pattern, file.words) for pattern in rule.patterns]
        gated = tuple((gate_of(pattern), pattern) for pattern in patterns)
        rules.append(
            _Rule(rule, gated, compile_any(rule.unless, file.words), hedges[rule.language])
        )
    return tuple(rules), MappingProxyType(hedges)


def _is_negated(hedges: _Hedges, prefix: str) -> bool:
    return bool(hedges.negation.search(prefix)) and not hedges.not_negation.search(prefix)


def _is_other(hedges: _Hedges, prefix: str) -> bool:
    """Whether the last subject before the hit is somebody else, the person not named after."""
    ends = [match.end() for match in hedges.other.finditer(prefix)]
    return bool(ends) and not hedges.self_words.search(prefix, ends[-1])


def _level_of_hit(compiled: _Rule, sentence: str, start: int) -> RiskLevel:
    """Return the level of one hit in its context."""
    hedges, wanted = compiled.hedges, compiled.rule.hedges
    clause = sentence.rfind("，", 0, start) + 1
    prefix = sentence[max(clause, start - _PREFIX_CHARS) : start]
    if "negation" in wanted and _is_negated(hedges, prefix):
        return "none"
    if (
        "fiction" in wanted
        and hedges.fiction.search(sentence)
        and not hedges.self_link.search(sentence)
    ):
        return "none"
    if "other" in wanted and _is_other(hedges, prefix):
        return "watch"
    if "past" in wanted and hedges.past.search(sentence):
        return "watch"
    return compiled.rule.level


class _Reader:
    """The pieces of one text, each masked once, and only when a rule's gate asks for it."""

    def __init__(self, text: str) -> None:
        self.rules, self._hedges = _compiled()
        self._plain = normalise(text)
        self._spans = spans(self._plain)
        self._starts = [start for start, _ in self._spans]
        self._masked: dict[int, str] = {}

    def _piece(self, index: int) -> str:
        if index not in self._masked:
            start, end = self._spans[index]
            sentence = self._plain[start:end]
            for context in self._hedges.values():
                sentence = context.idioms.sub(_BLANK, sentence)
            self._masked[index] = sentence
        return self._masked[index]

    def _indices_with(self, literal: str) -> Iterator[int]:
        position = self._plain.find(literal)
        while position >= 0:
            index = bisect_right(self._starts, position) - 1
            if index > 0 and self._spans[index - 1][1] > position:
                yield index - 1
            yield index
            position = self._plain.find(literal, max(self._spans[index][1], position + 1))

    def candidates(self, gate: frozenset[str] | None) -> set[str]:
        """Return the masked pieces that hold a literal of `gate`, each once."""
        if gate is None:
            return {self._piece(index) for index in range(len(self._spans))}
        return {self._piece(index) for literal in gate for index in self._indices_with(literal)}

    def level_of(self, compiled: _Rule) -> RiskLevel:
        """Return the highest level `compiled` reaches anywhere in the text."""
        level: RiskLevel = "none"
        for gate, pattern in compiled.patterns:
            for sentence in self.candidates(gate):
                level = max_risk(level, _level_in(compiled, pattern, sentence))
                if level == compiled.rule.level:
                    return level
        return level


def _level_in(compiled: _Rule, pattern: re.Pattern[str], sentence: str) -> RiskLevel:
    level: RiskLevel = "none"
    for match in pattern.finditer(sentence):
        level = max_risk(level, _level_of_hit(compiled, sentence, match.start()))
        if level == compiled.rule.level:
            break
    if level != "none" and compiled.unless is not None and compiled.unless.search(sentence):
        return "none"
    return level


def assess(text: str) -> RiskFinding:
    """Assess one text.

    Args:
        text: What the person wrote, of any length and with any characters.

    Returns:
        The highest level found and the ids of the rules that hit, highest level first.
    """
    reader = _Reader(text)
    found: RiskLevel = "none"
    hits = []
    for compiled in reader.rules:
        if len(text) > LONG_CHARS and _rank(compiled.rule.level) < _rank(found):
            break
        level = reader.level_of(compiled)
        found = max_risk(found, level)
        if level != "none":
            hits.append(compiled.rule.id)
    return RiskFinding(level=found, rules=tuple(hits))


def _assess_joined(previous: str, turn: str) -> RiskFinding:
    """Assess two short messages as one sentence; long ones are not joined."""
    if not previous or max(len(previous), len(turn)) > FRAGMENT_CHARS:
        return RiskFinding()
    return assess(previous + turn)


def _rank(level: RiskLevel) -> int:
    return RISK_ORDER.index(level)


def _is_calm(own: RiskLevel, held: RiskLevel) -> bool:
    return own == "none" or (held == "imminent" and own == "watch")


def assess_history(turns: Sequence[str]) -> RiskFinding:
    """Assess the person's messages of a conversation, oldest first.

    Returns:
        The level held after the last message, with the ids of its rules and of those that set the
        held level.
    """
    held: RiskLevel = "none"
    held_rules: tuple[str, ...] = ()
    own, alone = RiskFinding(), RiskFinding()
    calm = 0
    previous = ""
    for turn in turns:
        before, alone = alone, assess(turn)
        joined = _assess_joined(previous, turn)
        # Only what neither message says alone counts, or the earlier one would be heard twice.
        own = (
            joined if _rank(joined.level) > max(_rank(before.level), _rank(alone.level)) else alone
        )
        previous = turn
        if _rank(own.level) >= _rank(held):
            held, held_rules, calm = own.level, own.rules, 0
        elif _is_calm(own.level, held):
            calm += 1
            if calm >= CALM_TURNS[held]:
                held, calm = RISK_ORDER[_rank(held) - 1], 0
                held_rules = held_rules if held != "none" else ()
    return RiskFinding(level=held, rules=tuple(dict.fromkeys((*own.rules, *held_rules))))
