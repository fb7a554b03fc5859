"""Find what led to the feeling and which belief colours it, each with the seeker's words for it.

A cause is a clause that matches a kind of cause (`cues.toml`), the more so after a marker such as
因为 or 自从; where no kind matches, the clause richest in content words stands for itself. A belief
needs a cue of absolute or self-blaming thinking, else none is named.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from empathy_agent.chain import Evidence
from empathy_trainers.weak.lexicon import CueType, lexicon
from empathy_trainers.weak.sentences import Clause, clauses
from empathy_trainers.weak.wording import neutral, pick, quote_of, who_in

_ASKING: Final = re.compile(
    r"(?<!不)怎么|如何|怎样|为什么|该不该|要不要|吗$|呢$|是不是|什么样|难道"
)
_INCOMPLETE: Final = re.compile(
    r"^(?:如果|要是|假如|虽然|即使|不管|无论|除非|当)|(?:的时候|之后|以后|时|说|是|觉得|的|和|跟|把|中|里|上|后|前|之间|方面|来|原因)$|^\d+岁"
)
_ADDRESSED: Final = re.compile(r"你|您|大家好|求助|请问|谢谢|帮我|各位")
_NOT_SO: Final = re.compile(r"(?:没有?|不会|不是|从未|从不|并不)[^，]{0,3}$")
_UNTOLD: Final = re.compile(
    r"^除了|重新|良好|能够|岁|年来|中$|里$|安慰|勇气|尝试|积极|希望|可以|分享|感谢|改善|努力"
)
_LONGEST_CAUSE: Final = 14


class Ranked(NamedTuple):
    """A clause with its worth as evidence."""

    worth: float
    clause: Clause
    asking: bool


def rank_clauses(post: str) -> list[Ranked]:
    """Weigh the clauses of a post by how much they tell, in their order."""
    lex = lexicon()
    ranked = []
    for order, clause in enumerate(clauses(post)):
        text = clause.text
        asking = bool(_ASKING.search(text)) or post[clause.end : clause.end + 1] in ("？", "?")
        worth = len(lex.keywords.findall(text)) + 1.2 * len(lex.relations.findall(text))
        worth += 1.0 if lex.cause_markers.search(text) else 0.0
        worth += 1.0 if 7 <= len(text) <= 20 else 0.0
        worth -= 2.0 if asking else 0.0
        worth -= 2.0 if _ADDRESSED.search(text) else 0.0
        worth -= 1.5 if _INCOMPLETE.search(text) else 0.0
        worth -= 3.0 if len(text) < 5 else 0.0
        ranked.append(Ranked(worth - 0.02 * order, clause, asking))
    return ranked


def read_causes(
    post: str, ranked: list[Ranked], used: set[str], seed_key: str
) -> tuple[Evidence, ...]:
    """Return up to two causes in the order of the post, never quoting what is in `used`."""
    found: list[tuple[float, Clause, CueType]] = []
    for one in ranked:
        for order, kind in enumerate(lexicon().causes):
            match = kind.pattern.search(one.clause.text)
            if match and not _NOT_SO.search(one.clause.text[: match.start()]):
                found.append((one.worth + 1.5 - 0.03 * order, one.clause, kind))
                break
    found.sort(key=lambda item: -item[0])
    causes: list[tuple[int, Evidence]] = []
    kinds: set[CueType] = set()
    for worth, clause, kind in found:
        if len(causes) == 2 or worth < 1.2:
            break
        quote = quote_of(post, clause)
        if kind in kinds or quote is None or quote in used:
            continue
        kinds.add(kind)
        used.add(quote)
        wording = pick(kind.wordings, seed_key, f"cause{len(causes)}")
        text = wording.replace("{who}", who_in(clause.text, _who_default(wording)))
        causes.append((clause.start, Evidence(text=text, quote=quote)))
    if not causes:
        return _plain_cause(post, ranked, used)
    return tuple(evidence for _, evidence in sorted(causes, key=lambda item: item[0]))


def _who_default(wording: str) -> str:
    return "家里人" if "安排" in wording or "管得" in wording else "对方"


def _plain_cause(post: str, ranked: list[Ranked], used: set[str]) -> tuple[Evidence, ...]:
    for one in sorted(ranked, key=lambda r: -r.worth):
        quote = quote_of(post, one.clause)
        if quote is None or quote in used or one.asking or _UNTOLD.search(quote):
            continue
        text = neutral(quote)
        if 4 <= len(text) <= _LONGEST_CAUSE + 6:
            used.add(quote)
            return (Evidence(text=text, quote=quote),)
    return ()


def read_beliefs(
    post: str, ranked: list[Ranked], used: set[str], seed_key: str
) -> tuple[Evidence, ...]:
    """Return the clearest belief, or none where the post has no cue of one."""
    best: tuple[float, str, str] | None = None
    for one in ranked:
        for order, kind in enumerate(lexicon().beliefs):
            match = kind.pattern.search(one.clause.text)
            if not match:
                continue
            start = one.clause.start + match.start()
            quote = quote_of(post, one.clause, start, start + len(match.group()))
            worth = 3.0 - 0.2 * order + (0.8 if 7 <= len(one.clause.text) <= 22 else 0.0)
            worth += 0.6 if re.search("我|自己", one.clause.text) else 0.0
            worth -= 1.5 if _ADDRESSED.search(one.clause.text) else 0.0
            if quote and quote not in used and (best is None or worth > best[0]):
                best = (worth, pick(kind.wordings, seed_key, "belief"), quote)
            break
    if best is None or best[0] < 1.0:
        return ()
    used.add(best[2])
    return (Evidence(text=best[1], quote=best[2]),)
