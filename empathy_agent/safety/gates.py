"""Derive from a pattern the literal pieces one of which every match must contain.

A rule file with a hundred patterns costs most of its time on sentences that cannot match. A gate
answers that with plain substring tests. It is derived from the compiled pattern's own parse tree
and not written by hand, so a pattern that is edited can never be silenced by a forgotten keyword.
"""

from __future__ import annotations

import re
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any, TypeAlias

_COMMON = frozenset(
    "的了是我不在有人这他她们你一个要就会想都也说到能没和去过上给得着很自己吗吧把被让再还生活为么什怎可以好时候多少"
)
_Tree: TypeAlias = Any
"""A node of the parse tree, which the standard library leaves untyped."""
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)


def _cost(piece: str) -> float:
    """Estimate how often a piece turns up: the lower, the better the gate."""
    cost = 1.0
    for char in piece:
        cost *= 0.08 if char.isascii() else 0.05 if char in _COMMON else 0.003
    return cost


def _best(candidates: list[frozenset[str]]) -> frozenset[str] | None:
    return min(candidates, key=lambda pieces: sum(map(_cost, pieces)), default=None)


def _of_item(op: object, value: _Tree) -> frozenset[str] | None:
    if op == sre.SUBPATTERN:
        return _of_sequence(value[-1])
    if op in _REPEATS and value[0] >= 1:
        return _of_sequence(value[2])
    if op == sre.BRANCH:
        parts = [_of_sequence(branch) for branch in value[1]]
        return None if None in parts else frozenset().union(*(part for part in parts if part))
    if op == sre.IN and all(kind == sre.LITERAL for kind, _ in value):
        return frozenset(chr(code) for _, code in value)
    return None


def _of_sequence(items: _Tree) -> frozenset[str] | None:
    """Return the rarest set of pieces a match cannot do without, None where there is none."""
    candidates: list[frozenset[str]] = []
    run = ""
    for op, value in items:
        if op == sre.LITERAL:
            run += chr(value)
            continue
        if run:
            candidates.append(frozenset({run}))
            run = ""
        found = _of_item(op, value)
        if found:
            candidates.append(found)
    if run:
        candidates.append(frozenset({run}))
    return _best(candidates)


def gate_of(pattern: re.Pattern[str]) -> frozenset[str] | None:
    """Return pieces one of which is in every match of `pattern`, None where no such set exists."""
    return _of_sequence(sre_parser.parse(pattern.pattern, pattern.flags))
