"""From the bytes of a streamed answer to `Chunk`s: event stream, JSON lines or one JSON object.

Lines are split as bytes: characters such as U+2028 may stand unescaped inside JSON, where a text
splitter would break the line. An event that the connection cuts in two is dropped, as the standard
for event streams asks; the caller sees the cut by the missing end.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from empathy_agent.backends.completions.refusals import (
    Fault,
    cut,
    error_text,
    garbled,
    is_overflow,
    overflow,
    unusable,
)
from empathy_agent.errors import BackendError

if TYPE_CHECKING:
    import httpx

_LINE_LIMIT = 4_194_304
_STOPS = ("stop", "eos", "eos_token", "stop_sequence")


@dataclass(frozen=True)
class Counts:
    """What the server says it computed."""

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None


@dataclass(frozen=True)
class Chunk:
    """One piece of an answer."""

    text: str = ""
    ids: tuple[int, ...] = ()
    finish: Literal["stop", "length"] | None = None
    stopped_by: str | int | None = None
    """The stop string or token that was met, where the server tells it."""
    tells_stop: bool = False
    """Whether `stopped_by` was told; None then means the model's own end."""
    counts: Counts | None = None


async def read_chunks(response: httpx.Response, host: str) -> AsyncGenerator[Chunk, None]:
    """Yield the chunks of `response` until it says it is done or ends.

    Raises:
        Fault: The answer is no answer of this API, or reports an error.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        yield _chunk(await response.aread(), host)
        return
    if kind not in ("text/event-stream", "application/x-ndjson"):
        raise unusable("no event stream")
    events = _Events(is_lines=kind == "application/x-ndjson")
    async for piece in response.aiter_bytes():
        for data in events.feed(piece):
            if data.strip() == b"[DONE]":
                return
            if data.strip():
                yield _chunk(data, host)


class _Events:
    """Splits bytes into the data of events, or into lines; comments and other fields are dropped."""

    def __init__(self, *, is_lines: bool) -> None:
        self._is_lines = is_lines
        self._held = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """Return what `piece` completes."""
        *lines, self._held = (self._held + piece).split(b"\n")
        if len(self._held) > _LINE_LIMIT:
            raise unusable("an endless line")
        if self._is_lines:
            return lines
        return [data for line in lines if (data := self._line(line.removesuffix(b"\r")))]

    def _line(self, line: bytes) -> bytes:
        """Take one line; return the data of the event that it ends, if it ends one."""
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        if line or not self._data:
            return b""
        data, self._data = b"\n".join(self._data), []
        return data


def _chunk(data: bytes, host: str) -> Chunk:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise garbled()
    if found.get("error"):
        raise Fault(overflow()) if is_overflow(error_text(data)) else cut(host)
    try:
        return _ollama(found, host) if "done" in found else _openai(found, host)
    except (TypeError, ValueError, AttributeError, KeyError):
        pass
    raise unusable("JSON of another shape")


def _openai(found: dict[str, Any], host: str) -> Chunk:
    counts = _counts(found)
    choices = found["choices"]
    if not choices:
        return Chunk(counts=counts)
    choice = choices[0]
    reason = choice.get("finish_reason")
    told = next((key for key in ("stop_reason", "matched_stop") if key in choice), None)
    return Chunk(
        text=_text(choice["text"]),
        ids=tuple(int(one) for one in choice.get("token_ids") or ()),
        finish=None if reason is None else _finish(reason, host),
        stopped_by=choice[told] if told else None,
        tells_stop=told is not None,
        counts=counts,
    )


def _ollama(found: dict[str, Any], host: str) -> Chunk:
    counts = Counts(_count(found.get("prompt_eval_count")), _count(found.get("eval_count")))
    reason = found.get("done_reason") or "stop"
    return Chunk(
        text=_text(found.get("response") or ""),
        finish=_finish(reason, host) if found["done"] else None,
        counts=counts if found["done"] else None,
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("text must be a string")
    return value.encode("utf-8", "replace").decode("utf-8")


def _finish(reason: object, host: str) -> Literal["stop", "length"]:
    if reason in _STOPS:
        return "stop"
    if reason == "length":
        return "length"
    if reason == "content_filter":
        raise Fault(BackendError("the server's own filter ended the answer; it cannot be used"))
    raise cut(host)


def _counts(found: dict[str, Any]) -> Counts | None:
    usage, timings = found.get("usage"), found.get("timings")
    if usage is None and timings is None:
        return None
    usage, timings = usage or {}, timings or {}
    details = usage.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens", timings.get("cache_n"))
    return Counts(
        _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached)
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
