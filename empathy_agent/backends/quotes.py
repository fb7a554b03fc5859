"""Hold quotes to the source: between two marks, only tokens that continue a span of the source are allowed.

A quote is evidence, and a chain whose evidence was never said is worse than none. Grammars cannot express "a substring
of that text", so this follows the bytes: outside a quote everything is free, inside one a token is allowed if it goes
on with some occurrence in the source of what was quoted so far, or closes the quote. A quote begins where a clause
begins, ends where one ends (or when it is long enough), and no clause is begun twice in one layer. Which clause is
quoted remains the model's choice; that the words are the person's own is by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_CONTINUATION: Final = 0x80
_LEAD_BITS: Final = 0xC0
_BREAKS: Final = frozenset("，。！？；：、…—,.!?;:\0")
"""What stands between clauses; a null byte stands for what a quote may not hold."""


@dataclass(frozen=True)
class Quotes:
    """A source, and how it is quoted."""

    source: str
    marks: tuple[str, str] = ("「", "」")
    """Opening and closing mark; the same one twice for languages that quote so."""
    least: int = 4
    """Characters of the shortest quote, where the source allows it."""
    most: int = 24
    """Characters after which a quote is closed."""


class PieceIndex:
    """The tokens of a vocabulary by their bytes.

    Args:
        pieces: The bytes of every token that text may hold; special tokens left out.
    """

    def __init__(self, pieces: Mapping[int, bytes]) -> None:
        self.by_bytes: dict[bytes, list[int]] = {}
        for token, piece in pieces.items():
            if piece:
                self.by_bytes.setdefault(piece, []).append(token)
        self.longest = max(map(len, self.by_bytes), default=0)
        self._spelling: dict[tuple[bytes, bytes], list[int]] = {}

    def spelling(self, rest: bytes, without: bytes) -> list[int]:
        """Return the tokens that begin to spell `rest`, or spell it and go on without `without`."""
        key = rest, without
        if key not in self._spelling:
            self._spelling[key] = [
                token
                for piece, tokens in self.by_bytes.items()
                if rest.startswith(piece)
                or (piece.startswith(rest) and without not in piece[len(rest) :])
                for token in tokens
            ]
        return self._spelling[key]


class QuoteGuide:
    """Follows one completion and says which tokens may come next.

    Marks and characters may be spelled by several tokens, so everything is followed byte by byte.

    Args:
        quotes: What is quoted and how.
        index: The vocabulary.
    """

    def __init__(self, quotes: Quotes, index: PieceIndex) -> None:
        self._index = index
        self._open, self._close = (mark.encode() for mark in quotes.marks)
        # A mark or a line break inside the source would end the quote for whoever reads it.
        breaks = {*quotes.marks, "\n", "\r", "\0"}
        text = "".join("\0" if c in breaks else c for c in quotes.source)
        self._source = text.encode("utf-8", "replace")
        self._starts, self._ends = _clauses(text)
        self._least, self._most = quotes.least, quotes.most
        self._tail = b""
        self._places: list[int] | None = None
        """Positions in the source after what is quoted so far; None outside a quote."""
        self._rest = b""
        """What is still missing of a closing mark that has begun; empty if none has."""
        self._quoted = b""
        self._begun: set[int] = set()
        """Where the quote began, kept while its closing mark is being spelled."""
        self.forbidden = [
            token
            for piece, tokens in index.by_bytes.items()
            if (at := piece.find(self._open)) >= 0 and at + len(self._open) < len(piece)
            for token in tokens
        ]
        """Tokens never allowed outside a quote: they open one and go on, past any control."""

    def allowed(self) -> list[int] | None:
        """Return the tokens that may come next, or None while anything may."""
        if self._places is None:
            return None
        going_on = self._continuations()
        rest = self._closing(is_required=not going_on)
        return going_on + self._index.spelling(rest, self._open) if rest else going_on

    def push(self, piece: bytes) -> None:
        """Take the token that was chosen."""
        if self._places is None:
            self._tail = (self._tail + piece)[-len(self._open) :]
            if piece and self._tail == self._open:
                self._places, self._quoted, self._tail = sorted(self._starts), b"", b""
            return
        rest = self._closing(is_required=True)
        if rest and piece.startswith(rest):
            self._starts -= self._begun_at()
            self._places, self._rest = None, b""
            self._tail = piece[len(rest) :][-len(self._open) :]
            return
        self._begun = self._begun_at()
        self._rest = rest[len(piece) :] if rest.startswith(piece) else b""
        size = len(piece)
        self._places = [p + size for p in self._places if self._source.startswith(piece, p)]
        self._quoted += piece

    def _continuations(self) -> list[int]:
        if _characters(self._quoted) >= self._most and not self._is_partial():
            return []
        found: dict[bytes, None] = {}
        for place in self._places or ():
            for end in range(place + 1, min(place + self._index.longest, len(self._source)) + 1):
                if self._source[end - 1] == 0:
                    break
                if (piece := self._source[place:end]) in self._index.by_bytes:
                    found[piece] = None
        return [token for piece in found for token in self._index.by_bytes[piece]]

    def _closing(self, *, is_required: bool) -> bytes:
        """Return what has to be spelled to close the quote now; empty where it may not be."""
        if self._rest:
            return self._rest
        length = _characters(self._quoted)
        at_end = any(place in self._ends for place in self._places or ())
        may_close = is_required or length >= self._most or (at_end and length >= self._least)
        return self._close if may_close and not self._is_partial() else b""

    def _begun_at(self) -> set[int]:
        """Return where the clauses begin that the quote may stand for."""
        if self._rest:
            return self._begun
        return {place - len(self._quoted) for place in self._places or ()}

    def _is_partial(self) -> bool:
        """Return whether the quote stands inside a multi-byte character."""
        place = self._places[0] if self._places else len(self._source)
        return place < len(self._source) and self._source[place] & _LEAD_BITS == _CONTINUATION


def _clauses(text: str) -> tuple[set[int], set[int]]:
    """Return the byte positions where clauses begin, at a letter or digit, and where they end."""
    starts, ends, position, is_fresh = set(), set(), 0, True
    for character in text:
        if character in _BREAKS:
            ends.add(position)
            is_fresh = True
        elif character.isalnum() and is_fresh:
            starts.add(position)
            is_fresh = False
        position += len(character.encode("utf-8", "replace"))
    return starts, ends | {position}


def _characters(data: bytes) -> int:
    return sum(byte & _LEAD_BITS != _CONTINUATION for byte in data)
