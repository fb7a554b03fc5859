"""Find what the seeker feels, minding negation and whose feeling it is.

The reply is read too: a supporter often names the feeling ("你感到很委屈"). Such a naming adds
weight to what the post shows, but emotions and quotes always come from the post.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Final, Literal, NamedTuple

from empathy_agent.chain import Emotion
from empathy_trainers.weak.lexicon import Strength, lexicon
from empathy_trainers.weak.sentences import Clause, clauses
from empathy_trainers.weak.wording import quote_of

_WEIGHT: Final[dict[Strength, float]] = {"form": 1.0, "strong": 1.3, "cue": 0.4}
_PALE: Final = {"hope": 0.35, "calm": 0.4, "relief": 0.4, "confusion": 0.8, "distress": 0.9}
"""Forms that are worded in nearly every post, or that say little, count less."""
_ANSWER_BONUS: Final = 0.5
_LEAST_SECOND: Final = 0.7
_KEEP_FROM: Final = 0.4
"""Share of the strongest score from which a second or third emotion is named."""
_PERSON: Final = re.compile(
    r"(?P<me>我|自己|本人)|(?<![对跟和与被把为向给怕像比让])(?P<other>他们|她们|他|她|对方|别人|大家|有人|妈妈|爸爸|父母|"
    r"老公|老婆|孩子|男朋友|女朋友|你)"
)
_HOW: Final = re.compile(r"怎么|如何|怎样|才能|想要|希望|能不能")
_CALLED: Final = re.compile(r"[让令使给](?:他|她|父母|家人|妈|爸|别人|大家|孩子)\w{0,4}$")
_OF_OTHERS: Final = re.compile(r"的(?:女|男|人|孩子|学生|员工|性格的人)")
_CLINICAL: Final = re.compile(r"确诊|诊断|会得|重度|中度|轻度|双相")
_AT_A_LOSS: Final = re.compile(r"怎么办|该怎么|该如何|怎样才|怎么才|为什么(?:会|我|总)|不知道")
_TO_YOU: Final = re.compile(r"你")

Intensity = Literal[1, 2, 3]


class Hit(NamedTuple):
    """One surface form that speaks of the seeker's own feeling."""

    emotion: str
    strength: Strength
    start: int
    end: int
    clause: Clause


def find_hits(text: str) -> list[Hit]:
    """Return the hits of a text in the first person, in order."""
    lex = lexicon()
    hits: list[Hit] = []
    for clause in clauses(text):
        for match in lex.emotion_pattern.finditer(clause.text):
            senses = lex.senses.get(match.group())
            if not senses or _denied(clause.text, match.start(), match.end()):
                continue
            start, end = clause.start + match.start(), clause.start + match.end()
            hits.extend(Hit(s.emotion, s.strength, start, end, clause) for s in senses)
    return hits


def _denied(clause: str, start: int, end: int) -> bool:
    before = clause[:start]
    if lexicon().negation.search(before) and not _HOW.search(before):
        return True
    if _CALLED.search(before) or _OF_OTHERS.match(clause, end) or _CLINICAL.search(clause):
        return True
    persons = [match.lastgroup for match in _PERSON.finditer(before)]
    return bool(persons) and persons[-1] == "other" and "我" not in clause[end : end + 2]


def named_by_supporter(answer: str) -> Counter[str]:
    """Count the emotions that a reply names in clauses addressed to the seeker."""
    lex = lexicon()
    counts: Counter[str] = Counter()
    for clause in clauses(answer):
        if not _TO_YOU.search(clause.text):
            continue
        for match in lex.emotion_pattern.finditer(clause.text):
            if lex.negation.search(clause.text[: match.start()]):
                continue
            counts.update(
                s.emotion for s in lex.senses.get(match.group(), ()) if s.strength != "cue"
            )
    return counts


def scores(hits: list[Hit], named: Counter[str]) -> dict[str, float]:
    """Weigh the emotions of a post; a repeated form counts at most twice."""
    total: dict[str, float] = defaultdict(float)
    repeats: Counter[tuple[str, int]] = Counter()
    for hit in hits:
        repeats[hit.emotion, hit.end - hit.start] += 1
        if repeats[hit.emotion, hit.end - hit.start] <= 2:
            total[hit.emotion] += _WEIGHT[hit.strength] * _PALE.get(hit.emotion, 1.0)
    for emotion, count in named.items():
        if emotion in total:
            total[emotion] += _ANSWER_BONUS * min(count, 2) * _PALE.get(emotion, 1.0)
    return dict(total)


def read_emotions(post: str, answer: str = "", *, most: int = 3) -> tuple[Emotion, ...]:
    """Return one to `most` emotions, the strongest first, or none at all.

    The first one always has a quote; if no quote fits, nothing is returned.
    """
    hits = find_hits(post)
    weights = scores(hits, named_by_supporter(answer))
    ranked = sorted(weights, key=lambda e: (-weights[e], e))
    if not ranked:
        return _asker(post)
    found: list[Emotion] = []
    used: set[str] = set()
    for emotion in ranked:
        if len(found) == most or _too_weak(weights, emotion, ranked[0]):
            break
        own = [hit for hit in hits if hit.emotion == emotion]
        quote = _best_quote(post, own, used)
        if quote:
            used.add(quote)
            found.append(Emotion(id=emotion, intensity=_intensity(own), quote=quote))
    return tuple(found)


def _asker(post: str) -> tuple[Emotion, ...]:
    """Read mere asking as slight confusion, where the post shows nothing else."""
    for clause in clauses(post):
        match = _AT_A_LOSS.search(clause.text)
        quote = (
            quote_of(post, clause, clause.start + match.start(), clause.start + match.end())
            if match
            else None
        )
        if quote:
            return (Emotion(id="confusion", intensity=1, quote=quote),)
    return ()


def _too_weak(weights: dict[str, float], emotion: str, first: str) -> bool:
    if emotion == first:
        return False
    return weights[emotion] < max(_LEAST_SECOND, _KEEP_FROM * weights[first])


def _best_quote(post: str, hits: list[Hit], used: set[str]) -> str | None:
    best, best_score = None, -9.0
    for order, hit in enumerate(hits):
        quote = quote_of(post, hit.clause, hit.start, hit.end)
        if quote is None:
            continue
        score = _WEIGHT[hit.strength] * 2 - 0.1 * order + (1.0 if 7 <= len(quote) <= 20 else 0.0)
        score -= 1.5 if quote in used else 0.0
        if score > best_score:
            best, best_score = quote, score
    return best


def _intensity(hits: list[Hit]) -> Intensity:
    lex = lexicon()
    level = 1
    for hit in hits:
        words = hit.clause.text
        if lex.strong.search(words) or hit.strength == "strong":
            level = max(level, 3)
        elif lex.weak.search(words):
            continue
        elif lex.mild.search(words):
            level = max(level, 2)
    if sum(hit.strength != "cue" for hit in hits) >= 2:
        level += 1
    return 3 if level >= 3 else 2 if level == 2 else 1
