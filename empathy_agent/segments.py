"""The segments of a transcript, its tags, and the escape of untrusted text.

A transcript is never one string to a tokenizer: a byte-pair tokenizer would merge `。</` across a
border. It is a list of `Segment`s, each tokenised apart, in training as in serving. The rule to
the token: every tag is a control segment of its own, every newline between tags is a content
segment of its own (`NEWLINE`), and every layer or answer text is one content segment. Text that
others wrote passes `escape` before it becomes a content segment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from empathy_agent.vocabulary import LayerName

THINK_OPEN: Final = "<empathy_think>"
THINK_CLOSE: Final = "</empathy_think>"
ANSWER_OPEN: Final = "<answer>"
ANSWER_CLOSE: Final = "</answer>"

LAYER_TAGS: Final[Mapping[LayerName, str]] = MappingProxyType(
    {"emotion": "L1", "cause": "L2", "intention": "L3", "strategy": "L4"}
)
"""The tag name of each layer, in transcript order."""

LAYER_OPEN: Final[Mapping[LayerName, str]] = MappingProxyType(
    {name: f"<{tag}>" for name, tag in LAYER_TAGS.items()}
)
LAYER_CLOSE: Final[Mapping[LayerName, str]] = MappingProxyType(
    {name: f"</{tag}>" for name, tag in LAYER_TAGS.items()}
)

ALL_TAGS: Final[tuple[str, ...]] = (
    THINK_OPEN,
    *(tag for name in LAYER_TAGS for tag in (LAYER_OPEN[name], LAYER_CLOSE[name])),
    THINK_CLOSE,
    ANSWER_OPEN,
    ANSWER_CLOSE,
)
"""Every tag, in transcript order; what a tokenizer that we train holds as control tokens."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of the transcript that is tokenised apart."""

    text: str
    control: bool = False
    """True for a tag or a template piece (specials on), False for content (specials off)."""
    ids: tuple[int, ...] | None = None
    """Token ids of `text`, reused only where `fingerprint` equals the backend's."""
    fingerprint: str | None = None
    """The tokenizer that `ids` belong to."""

    def ids_for(self, fingerprint: str) -> tuple[int, ...] | None:
        """Return `ids` where they belong to the tokenizer of `fingerprint`, else None."""
        return self.ids if self.fingerprint == fingerprint else None

    def to_json(self) -> dict[str, object]:
        """Return the segment as JSON values."""
        return {
            "text": self.text,
            "control": self.control,
            "ids": None if self.ids is None else list(self.ids),
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Segment:
        """Build a segment from `to_json`'s values; missing optional keys take their defaults.

        Raises:
            ValueError: `data` is not a segment; the message names the key, never its value.
        """
        text, control = data.get("text"), data.get("control", False)
        ids, fingerprint = data.get("ids"), data.get("fingerprint")
        if not isinstance(text, str):
            raise ValueError("segment key 'text' must be a string")
        if not isinstance(control, bool):
            raise ValueError("segment key 'control' must be a boolean")
        if not (fingerprint is None or isinstance(fingerprint, str)):
            raise ValueError("segment key 'fingerprint' must be a string or null")
        if ids is None:
            return cls(text, control, None, fingerprint)
        if not isinstance(ids, (list, tuple)) or any(type(one) is not int for one in ids):
            raise ValueError("segment key 'ids' must be a list of integers or null")
        return cls(text, control, tuple(ids), fingerprint)


NEWLINE: Final = Segment("\n")
"""The content segment between two tags of the chain."""


def control(text: str) -> Segment:
    """Return `text` as a control segment."""
    return Segment(text, control=True)


TAG: Final = re.compile(
    r"<\s?(?P<close>/?)\s?(?P<name>empathy_think|answer|l[1-4])\s?>", re.IGNORECASE | re.ASCII
)
"""One of our tags as a straying model may write it: in any case, with a space at each joint."""


def escape(text: str, specials: Iterable[str] = ()) -> str:
    """Defuse our own tags and every one of `specials` in text that others wrote.

    The first character of a match becomes its full-width twin (`<` → `＜`, `[` → `［`): a visible
    change that keeps the meaning. A special that starts with no ASCII sign is parted by a space.
    Our own tags are found as `TAG` finds them. Text without a match is unchanged, and escaping
    twice is escaping once. A special of one letter, or of blanks, cannot be defused and is skipped.

    Args:
        text: The untrusted text.
        specials: The special strings of the vocabulary.
    """
    # Longest first, so that one which holds another is defused as a whole.
    rules = [
        (special, twin)
        for special in sorted(set(specials), key=lambda one: (-len(one), one))
        if (twin := _defused(special)) is not None
    ]
    # Defusing one special may uncover another (`<<<` holds `<<` twice). Each step takes away an
    # ASCII sign or a pair of adjacent characters, hence this ends.
    before = None
    while before != text:
        before = text
        text = TAG.sub(lambda match: "＜" + match[0][1:], text)
        for special, twin in rules:
            text = text.replace(special, twin)
    return text


def _defused(special: str) -> str | None:
    body = special.lstrip()
    lead = special[: len(special) - len(body)]
    if body and "!" <= body[0] <= "~" and not body[0].isalnum():
        return lead + chr(ord(body[0]) + 0xFEE0) + body[1:]
    pair = re.search(r"\S(?=\S)", special)
    return f"{special[: pair.end()]} {special[pair.end() :]}" if pair else None
