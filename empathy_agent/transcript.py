"""The transcript of a chain: rendered from its layers, parsed strictly or leniently.

`render_chain` is the one place that knows the transcript's tags and whitespace; training data and
serving both come from it, so they agree to the token. Layer and answer texts are written as they
are: callers escape what others wrote. `parse_strict` accepts the canonical order only (format
reward, tests); `parse_lenient` makes the best of whatever a model wrote and never raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from empathy_agent.errors import OutputParseError
from empathy_agent.segments import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    LAYER_CLOSE,
    LAYER_OPEN,
    NEWLINE,
    TAG,
    THINK_CLOSE,
    THINK_OPEN,
    Segment,
    control,
)
from empathy_agent.splitter import Part, TranscriptSplitter
from empathy_agent.vocabulary import LAYERS, LayerName

_ORDER: Final[tuple[Part, ...]] = (*LAYERS, "answer")


@dataclass(frozen=True)
class ParsedTranscript:
    """The texts of a transcript, by layer, without their tags."""

    layers: dict[LayerName, str] = field(default_factory=dict)
    answer: str = ""
    problems: tuple[str, ...] = ()
    """What the lenient parse had to repair, in words that quote nothing of the text."""


def render_chain(
    layers: Mapping[LayerName, str | Segment], answer: str | Segment | None
) -> list[Segment]:
    r"""Render a chain as segments, from `<empathy_think>` to `</answer>`.

    A content segment in place of a text keeps the exact ids it was generated with. Layers come in
    transcript order whatever the order of `layers`; a missing one is left out. Without an `answer`
    the transcript ends after `</empathy_think>\n`, where the answer's opening tag would follow.
    """
    segments = [control(THINK_OPEN), NEWLINE]
    for name in LAYERS:
        if name in layers:
            segments += [control(LAYER_OPEN[name]), *_content(layers[name])]
            segments += [control(LAYER_CLOSE[name]), NEWLINE]
    segments += [control(THINK_CLOSE), NEWLINE]
    if answer is not None:
        segments += [control(ANSWER_OPEN), *_content(answer), control(ANSWER_CLOSE)]
    return segments


def _content(part: str | Segment) -> list[Segment]:
    segment = Segment(part) if isinstance(part, str) else part
    return [segment] if segment.text else []


def render_text(layers: Mapping[LayerName, str | Segment], answer: str | None) -> str:
    """Return `render_chain` as one string, for reading and for text-only APIs."""
    return "".join(segment.text for segment in render_chain(layers, answer))


def parse_strict(text: str) -> ParsedTranscript:
    """Parse a transcript that must be canonical: all parts, once, in order, closed, not empty.

    Whitespace is allowed between tags and around the transcript, nothing else is.

    Raises:
        OutputParseError: The text strays; `.node` names the part at fault (`"answer"`, a layer, or
            `"transcript"` for the frame), and the text is withheld.
    """
    position = _expect(text, 0, THINK_OPEN, "transcript")
    layers: dict[LayerName, str] = {}
    for name in LAYERS:
        position = _expect(text, position, LAYER_OPEN[name], name)
        layers[name], position = _closed(text, position, LAYER_CLOSE[name], name)
    position = _expect(text, position, THINK_CLOSE, "transcript")
    position = _expect(text, position, ANSWER_OPEN, "answer")
    answer, position = _closed(text, position, ANSWER_CLOSE, "answer")
    if text[position:].strip():
        raise OutputParseError("there is text after the answer; end it there", node="answer")
    return ParsedTranscript(layers, answer)


def _expect(text: str, position: int, tag: str, node: str) -> int:
    start = position + len(text[position:]) - len(text[position:].lstrip())
    if not text.startswith(tag, start):
        raise OutputParseError(f"expected {tag!r} as the next thing in the transcript", node=node)
    return start + len(tag)


def _closed(text: str, position: int, tag: str, node: str) -> tuple[str, int]:
    end = text.find(tag, position)
    if end < 0:
        raise OutputParseError(f"expected {tag!r} to close this part", node=node)
    content = text[position:end]
    if not content.strip():
        raise OutputParseError("this part is empty; write it", node=node)
    if TAG.search(content):
        raise OutputParseError("this part holds a tag; close it first", node=node)
    return content, end + len(tag)


def parse_lenient(text: str) -> ParsedTranscript:
    """Parse whatever a model wrote; raises on no text.

    The rules are `TranscriptSplitter`'s: a part ends at the next tag of any kind, tags count in any
    case, of a part written twice the first that is not blank counts, and a text without an answer
    is answered by what stands outside its tags. Texts come stripped.
    """
    splitter = TranscriptSplitter()
    found: dict[Part, str] = {}
    for event in (*splitter.feed(text), *splitter.close()):
        found[event.part] = found.get(event.part, "") + event.text
    layers = {name: found[name].strip() for name in LAYERS if found.get(name, "").strip()}
    answer = found.get("answer", "").strip()
    problems = [*splitter.problems, *(f"{name}: missing" for name in LAYERS if name not in layers)]
    if not answer:
        problems.append("answer: missing")
    elif splitter.stray:
        problems.append("transcript: text outside the tags is dropped")
    if splitter.order != sorted(splitter.order, key=_ORDER.index):
        problems.append("transcript: wrong order")
    if splitter.wrapper_tags != 2:
        problems.append("transcript: incomplete think wrapper")
    return ParsedTranscript(layers, answer, tuple(dict.fromkeys(problems)))
