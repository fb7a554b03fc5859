"""The lexical pieces that the writer and the reader of layer texts share.

Labels in both languages, the marks that quotes stand in, the words that open a section, and
`tidy`, the normal form of an item's text: what `tidy` leaves unchanged survives write and read.
Everything here is a pure function of a string, linear in its length, and raises on none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from empathy_agent.vocabulary import ACTS, EMOTIONS, SUPPORTS, Label

_CLOSING: Final[Mapping[str, str]] = {
    "「": "」",
    "『": "』",
    "“": '”"',
    '"': '"”',
    "‘": "’",
    "'": "'",
}
"""Opening mark → the marks that may close it, the right one first."""

_NESTING_WINDOW: Final = 600
"""Characters within which nested marks are paired; bounds the work on hostile text."""

MASK: Final = "\x00"
"""What stands for every character of a quote in a masked text."""

SENTENCE_END: Final = re.compile(r"[。\n]|\.(?=\s|$)")
ITEM_END: Final = re.compile(r"[;；]")
LIST_END: Final = re.compile(r"[;；,，、|]|(?<![0-9])/|\s(?:and|or)\s|[和与及]")

_CAUSE_WORDS = "起因|原因|诱因|causes?|triggers?"
_BELIEF_WORDS = "信念|想法|认知|beliefs?|thoughts?"
_NOT_INSIDE_WORD = r"(?<![A-Za-z\u4e00-\u9fff])"
SITUATION: Final = re.compile(
    rf"{_NOT_INSIDE_WORD}(?:处境|情境|情景|背景|situation|context)\s*[:：]", re.IGNORECASE
)
EVIDENCE: Final = re.compile(
    rf"{_NOT_INSIDE_WORD}(?:(?P<cause>{_CAUSE_WORDS})|(?P<belief>{_BELIEF_WORDS}))\s*[:：]",
    re.IGNORECASE,
)
_EVIDENCE_WORD = re.compile(rf"({_CAUSE_WORDS}|{_BELIEF_WORDS})(?:\s*[:：])+", re.IGNORECASE)

_LEAD = re.compile(r"^(?:[\s,，、:：*•·\-]|\d{1,2}[、)）])+")
_TAIL = " \t,，、:：.。"
_BREAK = re.compile(r"[;；。]|\.(?=\s)")
_QUOTE_MARK = re.compile(r"[「」『』“”\"‘]|(?<![A-Za-z0-9])'")


class Span(NamedTuple):
    """A quote in a text: `text[start:end]` with its marks, `inner` without."""

    start: int
    end: int
    inner: str


def quote_spans(text: str) -> list[Span]:
    """Return the outermost quotes of `text`; one that is never closed ends with its sentence."""
    spans: list[Span] = []
    absent: set[str] = set()
    position = 0
    while position < len(text):
        if not _opens(text, position):
            position += 1
            continue
        span = _span_at(text, position, absent)
        if span is None:
            position += 1
            continue
        spans.append(span)
        position = span.end
    return spans


def _opens(text: str, position: int) -> bool:
    mark = text[position]
    if mark not in _CLOSING:
        return False
    if mark not in "'‘":
        return True
    before = text[position - 1] if position else " "
    after = text[position + 1 : position + 2]
    return not _is_word(before) and bool(after) and not after.isspace()


def _is_word(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _span_at(text: str, start: int, absent: set[str]) -> Span | None:
    mark = text[start]
    for closing in _CLOSING[mark]:
        if closing in absent:
            continue
        end = _closing_at(text, start, closing)
        if end >= 0:
            return Span(start, end + 1, text[start + 1 : end])
        absent.add(closing)
    if mark in "'‘":
        return None
    stop = re.compile(r"[;；。\n]").search(text, start)
    end = stop.start() if stop else len(text)
    return Span(start, end, text[start + 1 : end])


def _closing_at(text: str, start: int, closing: str) -> int:
    mark = text[start]
    first = text.find(closing, start + 1)
    if mark in "'‘":
        while first >= 0 and _is_word(text[first + 1 : first + 2] or " "):
            first = text.find(closing, first + 1)
        return first
    if first < 0 or mark == closing or mark not in text[start + 1 : first]:
        return first
    depth = 0
    for position in range(start, min(len(text), start + _NESTING_WINDOW)):
        depth += (text[position] == mark) - (text[position] == closing)
        if depth == 0:
            return position
    return first


def mask(text: str, spans: list[Span]) -> str:
    """Return `text`, as long as before, with every quote overwritten, so that only prose splits."""
    pieces: list[str] = []
    position = 0
    for span in spans:
        pieces += (text[position : span.start], MASK * (span.end - span.start))
        position = span.end
    return "".join((*pieces, text[position:]))


def pieces(
    text: str, separator: re.Pattern[str], start: int, end: int
) -> Iterator[tuple[int, int]]:
    """Yield the borders of the non-empty pieces of `text[start:end]` between separators."""
    for match in separator.finditer(text, start, end):
        if match.start() > start:
            yield start, match.start()
        start = match.end()
    if start < end:
        yield start, end


def tidy(text: str) -> str:
    """Return the normal form of an item's text, which is what write and read keep.

    One line, no list mark in front, no separator inside, no quote marks, no section word with a
    colon.
    """
    flat = _QUOTE_MARK.sub("", " ".join(text.replace(MASK, "").split()))
    flat = _BREAK.sub(_comma, _EVIDENCE_WORD.sub(r"\1", flat))
    return _LEAD.sub("", " ".join(flat.split())).rstrip(_TAIL)


def _comma(match: re.Match[str]) -> str:
    return "," if match[0].isascii() else "，"


def sentence(text: str) -> str:
    """Return a free sentence on one line, without its full stop and without a section colon."""
    return _EVIDENCE_WORD.sub(r"\1", " ".join(text.split())).rstrip("。. ")


_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "naming": ("命名", "name"),
    "respecting": ("respect",),
    "supporting": ("support",),
    "exploring": ("explore",),
    "suggesting": ("suggest", "suggestion"),
    "informing": ("inform",),
}


class LabelReader:
    """Read a label at the beginning of a text, in either language or as an id."""

    def __init__(self, labels: Mapping[str, Label]) -> None:
        forms = {
            form.lower(): key
            for key, label in labels.items()
            for form in (key, *label, *_ALIASES.get(key, ()))
        }
        self._forms = forms
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile(
            "|".join(re.escape(form) + (r"\b" if form.isascii() else "") for form in ordered),
            re.IGNORECASE | re.ASCII,
        )

    def match(self, text: str) -> tuple[str, str] | None:
        """Return the id of the label `text` begins with and the text after it, or None."""
        found = self._pattern.match(text)
        return (self._forms[found[0].lower()], text[found.end() :]) if found else None


EMOTION_LABELS: Final = LabelReader(EMOTIONS)
SUPPORT_LABELS: Final = LabelReader(SUPPORTS)
ACT_LABELS: Final = LabelReader(ACTS)
