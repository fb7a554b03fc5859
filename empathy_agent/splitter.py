"""Cut a stream of text or bytes into the parts of a transcript, wherever the stream is cut.

Tokens end anywhere: in the middle of a tag, of a stop string, of a Chinese character.
`Utf8Stream` makes text of bytes, `StopScanner` withholds what may be the beginning of a stop
string, and `TranscriptSplitter` makes events of tags and texts. All three share one invariant:
what comes out, concatenated, does not depend on how the input was cut. `transcript.parse_lenient`
is a fold over the splitter's events, so stream and parse cannot disagree.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from empathy_agent.segments import LAYER_TAGS, TAG
from empathy_agent.vocabulary import LayerName

Part = LayerName | Literal["answer"]
"""What a transcript consists of: the four layers and the answer."""

_PART_OF_TAG: Final[Mapping[str, Part]] = MappingProxyType(
    {**{tag.lower(): name for name, tag in LAYER_TAGS.items()}, "answer": "answer"}
)
_TAG_NAMES: Final = ("empathy_think", *_PART_OF_TAG)
_TAG_BEGINNING = re.compile(r"<\s?/?\s?(?P<name>\w*)(?P<gap>\s?)", re.ASCII)


class Utf8Stream:
    """An incremental UTF-8 decoder; bytes that are no UTF-8 become U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> str:
        """Return the characters that `data` completes."""
        return self._decoder.decode(data)

    def close(self) -> str:
        """Return what an unfinished character at the end leaves."""
        return self._decoder.decode(b"", final=True)


class StopScanner:
    """Release streamed text up to the first stop string.

    The stop string that is complete first counts; of two that end together, the longer one.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(dict.fromkeys(stop for stop in stops if stop))
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stop: str | None = None
        """The stop string that was met, or None."""

    def feed(self, text: str) -> tuple[str, bool]:
        """Return the text that is safe to release and whether a stop string was met.

        The stop string and everything after it are dropped, in this call and in later ones.
        """
        if self.stop is not None:
            return "", True
        held = self._held + text
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            _, at, self.stop = min(found)
            self._held = ""
            return held[:at], True
        keep = self._beginning_of_stop(held)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep], False

    def _beginning_of_stop(self, text: str) -> int:
        for length in range(min(len(text), self._longest - 1), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0

    def flush(self) -> str:
        """Return the withheld text when the stream ends without a stop string."""
        held, self._held = self._held, ""
        return held


@dataclass(frozen=True, slots=True)
class SplitEvent:
    """One event of a split stream."""

    kind: Literal["open", "delta", "close"]
    part: Part
    text: str = ""
    """The new text of a `"delta"`; empty for the other kinds."""


class TranscriptSplitter:
    """Make events of a transcript that arrives in pieces; raises on no text.

    A part ends at the next tag of any kind. Of a part written twice the first that is not blank
    counts, later ones are dropped. Text outside all parts is held back; `close` gives it out as
    the answer where no answer was written, so that a text without tags is an answer.

    Args:
        inside: The part whose opening tag the caller wrote itself, before the stream began.
    """

    def __init__(self, inside: Part | None = None) -> None:
        self.problems: list[str] = []
        """What strayed so far, in words that quote nothing of the text."""
        self.order: list[Part] = []
        """The parts as they were opened, repeated ones left out."""
        self.wrapper_tags = 0
        """How many opening or closing `empathy_think` tags came."""
        self._buffer = ""
        self._written: set[Part] = set()
        self._outside: list[str] = [""]
        self._part: Part | None = None
        self._dropping = False
        self._pending: list[SplitEvent] = []
        if inside is not None:
            self._open(inside)

    def feed(self, text: str) -> list[SplitEvent]:
        """Take the next piece of the stream and return the events it completes."""
        self._buffer += text
        position = 0
        for tag in TAG.finditer(self._buffer):
            self._text(self._buffer[position : tag.start()])
            self._tag(tag["name"].lower(), closing=bool(tag["close"]))
            position = tag.end()
        rest = self._buffer[position:]
        keep = _beginning_of_tag(rest)
        self._text(rest[: len(rest) - keep])
        self._buffer = rest[len(rest) - keep :]
        return self._take()

    def close(self) -> list[SplitEvent]:
        """End the stream and return the last events."""
        self._text(self._buffer)
        self._buffer = ""
        self._end_part(closed=False)
        stray = self.stray
        if stray and "answer" not in self._written:
            self._open("answer")
            self._text(stray)
            self._end_part(closed=True)
            self._outside = [""]
            self.problems.append("answer: missing, the text outside the tags is used")
        return self._take()

    @property
    def stray(self) -> str:
        """The text outside all parts so far."""
        return "\n".join(piece.strip() for piece in self._outside if piece.strip())

    def _take(self) -> list[SplitEvent]:
        events, self._pending = self._pending, []
        return events

    def _tag(self, name: str, *, closing: bool) -> None:
        part = _PART_OF_TAG.get(name)
        self.wrapper_tags += part is None
        if self._part is None:
            self._outside.append("")
        self._end_part(closed=closing and part == self._part)
        if part is not None and not closing:
            self._open(part)

    def _open(self, part: Part) -> None:
        self._part = part
        self._dropping = part in self._written
        if self._dropping:
            self.problems.append(f"{part}: written twice")
            return
        if part not in self.order:
            self.order.append(part)
        self._pending.append(SplitEvent("open", part))

    def _text(self, text: str) -> None:
        if not text or self._dropping:
            return
        if self._part is None:
            self._outside[-1] += text
            return
        if not text.isspace():
            self._written.add(self._part)
        self._pending.append(SplitEvent("delta", self._part, text))

    def _end_part(self, *, closed: bool) -> None:
        if self._part is not None and not self._dropping:
            if not closed:
                self.problems.append(f"{self._part}: not closed")
            self._pending.append(SplitEvent("close", self._part))
        self._part = None
        self._dropping = False


def _beginning_of_tag(text: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of a tag."""
    start = text.rfind("<")
    if start < 0:
        return 0
    match = _TAG_BEGINNING.fullmatch(text, start)
    if match is None:
        return 0
    name = match["name"].lower()
    possible = name in _TAG_NAMES if match["gap"] and name else _is_beginning(name)
    return len(text) - start if possible else 0


def _is_beginning(name: str) -> bool:
    return any(tag.startswith(name) for tag in _TAG_NAMES)
