"""What a status or a broken connection means, in words that quote nothing of the answer.

An error page may quote the prompt, so a body is only searched for a few signs and then dropped.
`Fault` is how the modules of this package tell each other whether trying again makes sense.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from empathy_agent.errors import (
    BackendBusy,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ContextOverflow,
)

if TYPE_CHECKING:
    import httpx

_RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_READ_LIMIT = 65_536
_OVERFLOW = re.compile(
    r"context[ _](length|window|size)|exceed_context|max_model_len|maximum (input )?length"
    r"|input[\w ]{0,40} too long",
    re.IGNORECASE,
)


_UNKNOWN_FIELD = re.compile(
    r"(extra|unknown|unrecogni[sz]ed|unsupported|unexpected|invalid|additional)[\w ]{0,20}"
    r"(field|input|param|argument|propert|keyword|key)|not permitted|extra_forbidden",
    re.IGNORECASE,
)


class Fault(Exception):
    """A failed attempt: the error it comes to, and whether another attempt may succeed."""

    def __init__(
        self,
        error: BackendError,
        *,
        is_retryable: bool = False,
        wait_s: float | None = None,
        status: int | None = None,
        names_field: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_retryable = is_retryable
        self.wait_s = wait_s
        """What the server asked for in `Retry-After`."""
        self.status = status
        self.names_field = names_field
        """Whether the server seems to refuse a field that it does not know."""


def unusable(what: str) -> Fault:
    """Return the fault of an answer that is no answer of this API."""
    return Fault(
        BackendError(
            f"the server sent {what}; is 'base_url' the address of an OpenAI-compatible API, "
            "ending in /v1?"
        )
    )


def garbled() -> Fault:
    """Return the fault of a line in mid-stream that cannot be read: asked again, it may be whole."""
    return _transient(BackendError("the server's stream holds lines that are no JSON objects"))


def cut(host: str) -> Fault:
    """Return the fault of an answer that broke off."""
    return _transient(
        BackendUnavailable(
            f"the answer of {host} broke off each time; see the server's log, it may have crashed"
        )
    )


def broken(error: httpx.HTTPError, host: str, read_timeout_s: float) -> Fault:
    """Return the fault of a call that brought no answer."""
    import httpx

    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return _transient(
            BackendUnavailable(
                f"no connection to {host}; start the server or correct 'base_url' "
                "(proxies of the environment are not used)"
            )
        )
    if isinstance(error, httpx.TimeoutException):
        return Fault(
            BackendTimeout(
                f"{host} sent nothing for {read_timeout_s:g} s; raise 'read_timeout_s' if its "
                "model is that slow, otherwise look whether it hangs"
            )
        )
    return cut(host)


async def refusal(response: httpx.Response, host: str, model: str | None) -> Fault:
    """Return the fault of a status other than 200."""
    status = response.status_code
    if status in (401, 403):
        return Fault(
            BackendUnavailable(
                f"{host} refuses the key ({status}); give the right one as 'api_key'"
            ),
            status=status,
        )
    if 300 <= status < 400:
        return Fault(
            BackendUnavailable(f"{host} sends elsewhere ({status}); give its final 'base_url'"),
            status=status,
        )
    body = await _message(response)
    if status in (400, 413, 422, 500) and _OVERFLOW.search(body):
        return Fault(overflow(), status=status)
    if status in (404, 405):
        named = f"no model {model!r}" if model else "no model"
        return Fault(
            BackendUnavailable(
                f"{host} has {named}, or no /completions at this address ({status}); correct "
                "'model' or 'base_url'"
            ),
            status=status,
        )
    if status == 429:
        return _transient(
            BackendBusy(f"{host} has too much to do (429); come back later or raise its limits"),
            _retry_after(response),
            status,
        )
    if status in _RETRYABLE:
        return _transient(
            BackendUnavailable(f"{host} failed each time ({status}); see the server's log"),
            _retry_after(response),
            status,
        )
    return Fault(
        BackendError(f"{host} refuses the request ({status}); see the server's log"),
        status=status,
        names_field=_UNKNOWN_FIELD.search(body) is not None,
    )


def overflow() -> ContextOverflow:
    """Return the error of an input that is longer than the server's context."""
    return ContextOverflow(
        "the input does not fit the server's context; start the server with a larger one, or set "
        "'context_size' to what it has, so that input is cut before"
    )


def _transient(
    error: BackendError, wait_s: float | None = None, status: int | None = None
) -> Fault:
    error.retryable = True
    return Fault(error, is_retryable=True, wait_s=wait_s, status=status)


async def _message(response: httpx.Response) -> str:
    """Return the beginning of the error's message; it goes no further than this module."""
    import httpx

    data = bytearray()
    try:
        async for piece in response.aiter_bytes():
            data += piece
            if len(data) > _READ_LIMIT:
                break
    except httpx.HTTPError:
        return ""
    return error_text(bytes(data))


def error_text(data: bytes | str) -> str:
    """Return the kind and the first words of an error that came as JSON."""
    try:
        found = json.loads(data)
    except ValueError:
        return ""
    error = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(error, dict):
        parts = (error.get(key) for key in ("code", "type", "message", "detail"))
        return " ".join(str(part)[:400] for part in parts if part is not None)
    return str(error)[:400]


def is_overflow(text: str) -> bool:
    """Return whether an error's text speaks of the context's length."""
    return _OVERFLOW.search(text) is not None


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of the header, which may be a number or a date."""
    value = response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
