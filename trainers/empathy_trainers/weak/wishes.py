"""Read which support the seeker wants, what they ask, what the actual reply does and what it plans.

Support is told from the post by cues, advice being the default of someone who asks at all. Acts are
told from the reply, in the order in which they first occur in it, so that layer 4 announces what
the training answer then does.
"""

from __future__ import annotations

import re
from typing import Final, cast

from empathy_agent.vocabulary import Act, Support
from empathy_trainers.weak.evidence import Ranked
from empathy_trainers.weak.lexicon import lexicon
from empathy_trainers.weak.wording import neutral, pick, who_in

_PRIOR: Final = {
    "advice": 0.8,
    "understanding": 0.3,
    "listening": 0.5,
    "validation": 0.3,
    "information": 0.2,
}
_WEIGHT: Final = {
    "advice": 0.5,
    "understanding": 1.3,
    "listening": 2.0,
    "validation": 1.5,
    "information": 1.4,
}
_MOST_ACTS: Final = 5
_BARE: Final = re.compile(
    r"^(?:我)?(?:现在)?(?:到底)?(?:该|应该|要|可以)?怎么(?:办|做|样)(?:才好|好|才行)?(?:呢|啊|呀)?$|^为什么(?:呢)?$"
)
_ASKING_LEAD: Final = re.compile(
    r"^(?:(?:有时候?|时常|觉得|真的|现在|实在|也|很|就|只是|一直|经常|总|一直在|经常在|总在|在)*(?:不知道|想知道|想问问?(?:一下)?|不明白|不清楚|"
    r"犹豫|想|搞不懂|想不通|弄不明白|纠结)(?:自己)?)+"
)
_LEFTOVER: Final = re.compile(r"你|您|请问|求|谢")
_QUESTION_WORD: Final = re.compile(
    r"(?<!不)怎么|如何|怎样|为什么|该不该|要不要|是不是|吗|什么|还是|能不能|有没有|会不会|哪"
)
_ADDRESSING: Final = re.compile(r"你|您")


def read_supports(post: str) -> tuple[Support, tuple[Support, ...]]:
    """Return the primary support and up to two others."""
    weights: dict[str, float] = {}
    for kind, cues in lexicon().supports.items():
        count = len(set(cues.findall(post)))
        weights[kind] = _PRIOR[kind] + _WEIGHT[kind] * min(count, 3)
    ranked = sorted(weights, key=lambda kind: -weights[kind])
    others = [
        k for k in ranked[1:3] if weights[k] >= 1.0 and weights[k] >= 0.4 * weights[ranked[0]]
    ]
    # ids come from cues.toml, whose tables carry the names of the vocabulary (a test checks it)
    return cast("Support", ranked[0]), tuple(cast("Support", k) for k in others)


def read_question(post: str, ranked: list[Ranked]) -> str | None:
    """Return what the seeker asks, in neutral words, or None where they ask nothing definite."""
    best: tuple[float, str] | None = None
    for order, one in enumerate(ranked):
        text = one.clause.text
        if not one.asking or _LEFTOVER.search(text):
            continue
        if _BARE.match(text) and order:
            before = ranked[order - 1].clause
            joined = post[before.start : one.clause.end]
            if len(joined) > 26 or "。" in joined or _ADDRESSING.search(joined):
                continue
            text = f"{neutral(before.text)}，{neutral(text)}"
        asked = _ASKING_LEAD.sub("", neutral(text)).removeprefix("是")
        if 5 <= len(asked) <= 24 and _QUESTION_WORD.search(asked):
            worth = one.worth + (0.8 if 8 <= len(asked) <= 20 else 0.0) - 0.05 * order
            if best is None or worth > best[0]:
                best = (worth, asked)
    return best[1] if best else None


def read_acts(answer: str) -> tuple[Act, ...]:
    """Return the acts of a reply in the order of their first cue, at most five."""
    first: dict[str, int] = {}
    for act, cues in lexicon().acts.items():
        found = cues.search(answer)
        if found:
            first[act] = found.start()
    kept = sorted(first, key=first.__getitem__)[:_MOST_ACTS]
    return tuple(cast("Act", act) for act in kept)  # ids come from cues.toml, as above


def read_plan(post: str, answer: str, seed_key: str) -> str | None:
    """Return what the reply advises, in a few words of our own."""
    best: tuple[int, tuple[str, ...]] | None = None
    for kind in lexicon().plans:
        count = len(kind.pattern.findall(answer))
        if count and (best is None or count > best[0]):
            best = (count, kind.wordings)
    if best is None:
        return None
    return pick(best[1], seed_key, "plan").replace("{who}", who_in(post, "身边的人"))
