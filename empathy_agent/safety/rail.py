"""Let a model's text through sentence by sentence, each after it passed all the rules.

A rail sits in the stream. `feed` takes text as it is generated and returns what may be shown;
`close` returns the rest. What was returned is never taken back. Where a sentence ends depends on
the text alone, not on how the stream was cut, so the same text gives the same result for any cut.
A sentence that hits a rule of `rail.toml` is dropped or, in an answer, replaced by the fixed
sentence of that rule's group, once. A sentence longer than `WINDOW_CHARS` is released in windows
that keep `OVERLAP_CHARS` back, so that a pattern across a border is still seen whole.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, NamedTuple

from empathy_agent.chain import RailHit
from empathy_agent.safety.numbers import has_foreign_number
from empathy_agent.safety.regions import RegionPack, load_regions
from empathy_agent.safety.rules import compile_any, load_rail_rules
from empathy_agent.safety.text import normalise
from empathy_agent.vocabulary import Language, LayerName

WINDOW_CHARS = 400
"""A sentence is released, or dropped, at this length at the latest."""
OVERLAP_CHARS = 64
"""How much text is kept back at a forced cut, and how much earlier text is read along after one."""
_END = re.compile(
    '(?:[。！？；!?;…\n]|\\.(?=[\\s.。！？!?"”’」』)）]))[。！？；!?;….\n"”’」』)）】]*'
)


class _Rule(NamedTuple):
    id: str
    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None


@cache
def _compiled() -> tuple[_Rule, ...]:
    file = load_rail_rules()
    rules = []
    for rule in file.rule:
        pattern = compile_any(rule.patterns, file.words)
        assert pattern is not None, "a rule has patterns"
        rules.append(_Rule(rule.id, pattern, compile_any(rule.unless, file.words)))
    return tuple(rules)


class OutputRail:
    """One stream of text through the rail.

    Args:
        lang: The language replacements are written in; rules of both languages always apply.
        where: What the text is: the answer, or a layer. In layers a sentence that hits is always
            dropped.
        hold: Release nothing before `close`; set from risk `elevated` up.
        region: Whose numbers may stand in the text; None lets no number through.
        pack: The region pack; None is the shipped one.

    Raises:
        ConfigError: If `region` is not in the pack.
    """

    def __init__(
        self,
        *,
        lang: Language,
        where: Literal["answer"] | LayerName = "answer",
        hold: bool = False,
        region: str | None = None,
        pack: RegionPack | None = None,
    ) -> None:
        self._lang: Language = lang
        self._where: Literal["answer"] | LayerName = where
        self._hold = hold
        self._allowed = (pack or load_regions()).get(region).numbers
        self._pending = ""
        self._context = ""
        self._held: list[str] = []
        self._hits: list[RailHit] = []
        self._replaced: set[str] = set()
        self._closed = False

    @property
    def hits(self) -> tuple[RailHit, ...]:
        """What the rail did so far, in order."""
        return tuple(self._hits)

    def feed(self, text: str) -> str:
        """Take more text and return what may be shown now, maybe nothing.

        Raises:
            ValueError: If the rail is closed.
        """
        if self._closed:
            raise ValueError("this rail is closed; make a new one per text")
        self._pending += text
        return self._release(self._advance(final=False))

    def close(self) -> str:
        """Check and return the rest; nothing if everything was dropped.

        Closing again returns nothing.
        """
        if self._closed:
            return ""
        self._closed = True
        rest = self._advance(final=True)
        held, self._held = "".join(self._held), []
        return held + rest

    def _release(self, text: str) -> str:
        if self._hold:
            self._held.append(text)
            return ""
        return text

    def _advance(self, *, final: bool) -> str:
        released = []
        start = 0
        text = self._pending
        while start < len(text):
            match = _END.search(text, start, start + WINDOW_CHARS + 1)
            if match and match.end() - start <= WINDOW_CHARS and (final or match.end() < len(text)):
                sentence = text[start : match.end()]
                released.append(self._judge(sentence, kept=0))
                self._context = (
                    sentence[-OVERLAP_CHARS:].strip("\n") if sentence.endswith("\n") else ""
                )
            elif len(text) - start > WINDOW_CHARS:
                sentence, passed = self._window(text[start : start + WINDOW_CHARS])
                released.append(passed)
            elif final:
                sentence = text[start:]
                released.append(self._judge(sentence, kept=0))
            else:
                break
            start += len(sentence)
        self._pending = text[start:]
        return "".join(released)

    def _window(self, window: str) -> tuple[str, str]:
        """Judge a forced window; return what is consumed and what is released."""
        hits_before = len(self._hits)
        passed = self._judge(window, kept=OVERLAP_CHARS)
        consumed = window if len(self._hits) > hits_before else window[:-OVERLAP_CHARS]
        self._context = consumed[-OVERLAP_CHARS:]
        return consumed, passed

    def _judge(self, sentence: str, *, kept: int) -> str:
        """Return the sentence less its last `kept` characters, or what stands in for it."""
        rule = self._rule_hit(sentence)
        if rule is None:
            return sentence[: len(sentence) - kept]
        group = rule.partition(".")[0]
        replacement = load_rail_rules().replacement.get(group, {}).get(self._lang)
        use = replacement is not None and self._where == "answer" and group not in self._replaced
        self._hits.append(
            RailHit(rule=rule, where=self._where, action="replaced" if use else "dropped")
        )
        if not use or replacement is None:
            return ""
        self._replaced.add(group)
        lead = sentence[: len(sentence) - len(sentence.lstrip())]
        return lead + replacement

    def _rule_hit(self, sentence: str) -> str | None:
        """Return the id of the first rule that ends in `sentence`, read after its context."""
        alone, plain = normalise(sentence), normalise(self._context + sentence)
        skip = max(0, len(plain) - len(alone)) if self._context else 0
        for rule in _compiled():
            hit = any(match.end() > skip for match in rule.pattern.finditer(plain))
            if hit and not (rule.unless and rule.unless.search(plain)):
                return rule.id
        return (
            f"number.{self._lang}" if has_foreign_number(plain, self._allowed, skip=skip) else None
        )


def screen(
    text: str,
    lang: Language,
    where: Literal["answer"] | LayerName = "answer",
    *,
    region: str | None = None,
    pack: RegionPack | None = None,
) -> tuple[str, tuple[RailHit, ...]]:
    """Pass a whole text through a rail; return what is left of it and what the rail did."""
    rail = OutputRail(lang=lang, where=where, hold=False, region=region, pack=pack)
    released = rail.feed(text) + rail.close()
    return released, rail.hits
