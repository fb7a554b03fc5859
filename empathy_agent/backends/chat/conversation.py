"""From messages to segments and back: what a request asks of a chat model.

`render` puts a control segment before every message and one at the end; no other backend writes these, and content is
never control, so `read` recovers the messages exactly. What follows them is the transcript: closed layers, then the
part that is open, with what its node has already written of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from empathy_agent.backends.requests import Message, PartName, Request, Role
from empathy_agent.config import detect_language
from empathy_agent.errors import BackendError
from empathy_agent.segments import ANSWER_OPEN, LAYER_OPEN, NEWLINE, THINK_OPEN, Segment, control
from empathy_agent.vocabulary import LAYERS, Language, LayerName

_MARKS: Final[Mapping[Role, str]] = {
    "system": "<|chat system|>",
    "user": "<|chat user|>",
    "assistant": "<|chat assistant|>",
}
REPLY_MARK: Final = "<|chat reply|>"
"""The control segment after the last message; what stands after it belongs to the transcript."""

_ROLE_OF: Final[Mapping[str, Role]] = {mark: role for role, mark in _MARKS.items()}
_PART_OF: Final[Mapping[str, PartName]] = {
    **{tag: name for name, tag in LAYER_OPEN.items()},
    ANSWER_OPEN: "answer",
    THINK_OPEN: "single_pass",
}


@dataclass(frozen=True)
class Asked:
    """What a request asks for."""

    part: PartName
    lang: Language
    messages: tuple[Message, ...]
    layers: Mapping[LayerName, str]
    """The layers before it, by name, in transcript order."""
    written: str
    """What is already written of the part itself."""
    post: str
    """The seeker's words, which every quote must be an exact substring of."""
    instructions: Mapping[PartName, str]
    """How the parts are written; may lack any."""


def render(messages: Sequence[Message]) -> tuple[Segment, ...]:
    """Return `messages` as segments, up to the assistant's turn."""
    segments: list[Segment] = []
    for message in messages:
        segments.append(control(_MARKS[message.role]))
        if message.content:
            segments.append(Segment(message.content))
    return (*segments, control(REPLY_MARK))


def read(request: Request) -> Asked:
    """Return what `request` asks for; text before any mark is taken as the user's.

    Raises:
        BackendError: The request is empty.
    """
    if not request.segments:
        raise BackendError("the prompt is empty; render at least one message")
    messages, transcript = _messages(request.segments)
    part, layers, written = _transcript(transcript)
    source = request.quotes.source if request.quotes else None
    users = [one.content for one in messages if one.role == "user"]
    post = source if source is not None else (users[-1] if users else "")
    guide = request.guide
    return Asked(
        part=guide.part if guide else part,
        lang=guide.lang if guide else detect_language(post),
        messages=tuple(messages),
        layers={name: layers[name] for name in LAYERS if name in layers},
        written=written,
        post=post,
        instructions=guide.instructions if guide else {},
    )


def _messages(segments: Sequence[Segment]) -> tuple[list[Message], Sequence[Segment]]:
    messages: list[Message] = []
    for index, segment in enumerate(segments):
        if segment.control and segment.text in _ROLE_OF:
            messages.append(Message(_ROLE_OF[segment.text], ""))
        elif segment.control:
            after = segment.text == REPLY_MARK
            return messages, segments[index + after :]
        else:
            last = messages.pop() if messages else Message("user", "")
            messages.append(Message(last.role, last.content + segment.text))
    return messages, ()


def _transcript(segments: Sequence[Segment]) -> tuple[PartName, dict[LayerName, str], str]:
    """Return the open part (the answer, where no tag opens one), the closed layers, the rest."""
    part: PartName | None = "answer"
    texts: dict[PartName, str] = {}
    for segment in segments:
        if segment.control:
            part = _PART_OF.get(segment.text)
        elif part is not None and segment.text != NEWLINE.text:
            texts[part] = texts.get(part, "") + segment.text
    part = part or "answer"
    written = texts.pop(part, "")
    return part, {name: texts[name] for name in LAYERS if name in texts}, written
