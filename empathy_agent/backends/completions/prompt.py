"""From segments to what is sent: ids, each segment tokenised apart, or one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from empathy_agent.backends.completions.dialects import Prompt
from empathy_agent.backends.completions.probe import Server
from empathy_agent.segments import Segment


@dataclass(frozen=True)
class Prepared:
    """A prompt with its size."""

    value: Prompt
    count: int
    is_exact: bool
    """Whether `count` was counted; a guess must not refuse anything."""


def clean(text: str) -> str:
    """Return `text` with what no UTF-8 can carry replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


async def segment_ids(server: Server, segment: Segment, fingerprint: str) -> tuple[int, ...]:
    """Return the ids of one segment, its own where they belong to this server."""
    known = segment.ids_for(fingerprint)
    if known is not None:
        return known
    return await server.tokens.ids(clean(segment.text), is_control=segment.control)


async def prompt_of(server: Server, segments: Sequence[Segment], fingerprint: str) -> Prepared:
    """Return the prompt that `segments` come to.

    Raises:
        Fault: The server's tokenizer did not answer.
    """
    if server.takes_ids:
        parts = [await segment_ids(server, one, fingerprint) for one in segments]
        ids = tuple(one for part in parts for one in part)
        return Prepared(ids, len(ids), is_exact=True)
    text = clean("".join(one.text for one in segments))
    return Prepared(text, await server.tokens.count(text), server.tokens.is_exact)
