"""Obey a declared support: where someone only wants to be heard, sentences that advise are left out.

Unasked advice is what people who want to be heard resent most (EPITOME rates advice-only replies as no empathy at
all). A model may slip back into it whatever layer 3 says, so the answer is filtered sentence by sentence, after the
rail. The filter is off while there is risk: naming a person or a place to turn to is not advice to withhold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from empathy_agent.chain import RailHit
from empathy_agent.vocabulary import Language, RiskLevel, Support

WITHOUT_ADVICE: frozenset[Support] = frozenset({"listening", "validation", "understanding"})

_ADVICE: Mapping[Language, re.Pattern[str]] = {
    "zh": re.compile(
        r"建议你|我建议|我的建议|你可以(?:先|试|考虑|通过|和|跟|去|多|把|找|主动|尝试|选择|适当)|可以尝试|试着|尝试(?:着|去|一下|和|与|用)"
        r"|不妨|你(?:应该|需要|要|得)(?!的)|最好(?:是|能)?(?:先|去|和|跟)|首先|其次|第一[，,、]|学会"
    ),
    "en": re.compile(
        r"\b(?:you (?:should|could|need to|ought to|might want to)|try (?:to|and)|i(?: would|'d)? (?:suggest|recommend)"
        r"|my advice|why don't you|it may help to|first of all|consider \w+ing)\b",
        re.IGNORECASE,
    ),
}
_SENTENCE = re.compile(
    r"[^。！？!?…\n.]*(?:[。！？!?…\n]+|\.(?=\s|$))|[^。！？!?…\n.]+\.?", re.DOTALL
)
_END = re.compile(r"[。！？!?…\n]|\.(?=\s)")


def unwanted_advice(support: Support | None, risk: RiskLevel) -> bool:
    """Return whether advice is to be left out."""
    return support in WITHOUT_ADVICE and risk == "none"


class AdviceFilter:
    """Drops advising sentences from a stream; the rest passes unchanged."""

    def __init__(self, lang: Language) -> None:
        self.lang = lang
        self._pending = ""
        self.hits: list[RailHit] = []

    def feed(self, text: str) -> str:
        """Return the whole sentences that may pass."""
        self._pending += text
        ends = [match.end() for match in _END.finditer(self._pending)]
        if not ends:
            return ""
        whole, self._pending = self._pending[: ends[-1]], self._pending[ends[-1] :]
        return self._filter(whole)

    def close(self) -> str:
        """Return what is left, filtered."""
        rest, self._pending = self._pending, ""
        return self._filter(rest)

    def _filter(self, text: str) -> str:
        kept = []
        for sentence in _SENTENCE.findall(text):
            if _ADVICE[self.lang].search(sentence):
                rule = f"unasked_advice.{self.lang}"
                self.hits.append(RailHit(rule=rule, where="answer", action="dropped"))
            else:
                kept.append(sentence)
        return "".join(kept)
