"""Cut Chinese text into sentences and clauses, keeping where each piece stands.

A quote must be an exact substring of the post, so nothing here changes a character: a `Clause`
carries its offsets in the text it was cut from. Near-identical sentences are found by the overlap
of their character bigrams.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_SENTENCE = re.compile(r"[^。！？!?\n；;…]*[。！？!?；;…]+[”’\"』）)]*|[^。！？!?\n；;…]+")
_CLAUSE = re.compile(r"[^，。！？!?；;…,\s、：:“”\"「」『』《》（）()~～—]+")

NEAR_IDENTICAL = 0.6
"""Share of common character bigrams (Jaccard) from which two sentences count as one, in [0, 1]."""


class Clause(NamedTuple):
    """A stretch of text without punctuation."""

    text: str
    start: int
    end: int


def sentences(text: str) -> list[str]:
    """Split `text` after each sentence end, dropping blanks and empty pieces."""
    return [piece for piece in (m.group().strip() for m in _SENTENCE.finditer(text)) if piece]


def clauses(text: str) -> list[Clause]:
    """Split `text` at every punctuation mark."""
    return [Clause(m.group(), m.start(), m.end()) for m in _CLAUSE.finditer(text)]


def bigrams(text: str) -> frozenset[str]:
    """Return the character bigrams of `text`, ignoring punctuation."""
    letters = "".join(c for c in text if c.isalnum())
    return frozenset(letters[i : i + 2] for i in range(len(letters) - 1))


def distinct(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces that do not nearly repeat an earlier one."""
    seen: list[frozenset[str]] = []
    for piece in pieces:
        grams = bigrams(piece)
        limit = len(grams)
        if grams and any(_overlap(grams, other, limit) for other in seen):
            continue
        if grams:
            seen.append(grams)
        yield piece


def _overlap(grams: frozenset[str], other: frozenset[str], limit: int) -> bool:
    size = len(other)
    if min(limit, size) < NEAR_IDENTICAL * max(limit, size):
        return False
    common = len(grams & other)
    return common >= NEAR_IDENTICAL * (limit + size - common)
