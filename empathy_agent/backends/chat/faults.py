"""Providers' exceptions as errors of ours: told by type name and HTTP status alone, never by their text.

Every provider package has its own exceptions, which this backend cannot import; their names and the status they carry
agree well enough. A text is searched for the marks of an overlong prompt, and then withheld like any other.
"""

from __future__ import annotations

import re
from typing import Final

from empathy_agent.errors import (
    BackendBusy,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ContextOverflow,
    EmpathyAgentError,
)

_OVERFLOW_NAME: Final = re.compile(r"Context(?:Overflow|Length|Window)|PromptTooLong")
_OVERFLOW_TEXT: Final = re.compile(
    r"context[_ ](?:length|window|size)|maximum context|prompt is too long|too many tokens"
    r"|input token count|reduce the length",
    re.IGNORECASE,
)
_REFUSED_NAME: Final = re.compile(
    r"BadRequest|InvalidRequest|InvalidArgument|Unprocessable|NotFound|NotImplemented|"
    r"^(?:Type|Value|Attribute)Error$|^ValidationError$"
)
_REFUSED: Final = frozenset({400, 404, 405, 415, 422, 500, 501})
"""Some servers, such as llama-cpp-python's, answer 500 to a field they do not know."""
_DEPTH: Final = 6


def is_unsupported(error: BaseException) -> bool:
    """Return whether `error` may mean that the model does not know this way of being asked."""
    if _is_overflow(error):
        return False
    status = _status(error)
    if status is not None:
        return status in _REFUSED
    return _REFUSED_NAME.search(type(error).__name__) is not None


def classified(error: BaseException) -> EmpathyAgentError:
    """Return the error of ours that `error` means; it holds nothing of the text of `error`."""
    if isinstance(error, EmpathyAgentError):
        return error
    name, status = type(error).__name__, _status(error)
    what = f"the chat model failed with {name}{'' if status is None else f' ({status})'}"
    return _named(error, name, status, what)


def _named(error: BaseException, name: str, status: int | None, what: str) -> BackendError:
    if _is_overflow(error):
        return ContextOverflow(
            f"{what}: the conversation is too long for it; open the backend with the model's real "
            "context_size, or shorten the system prompt"
        )
    if status == 429 or re.search(r"RateLimit|ResourceExhausted|TooManyRequests", name):
        return BackendBusy(f"{what}: the provider limits how often it is asked; try again later")
    if status in (408, 504) or re.search(r"Timeout|TimedOut|DeadlineExceeded", name):
        return BackendTimeout(f"{what}: the provider took too long; try again")
    if status in (401, 403) or re.search(r"Authentication|Permission|Unauthori[sz]ed", name):
        return BackendUnavailable(f"{what}: the provider refused the key; check it")
    if status == 404 or "NotFound" in name:
        return BackendUnavailable(f"{what}: check the model's name and the address")
    if (status or 0) >= 500 or re.search(r"Connect|Unavailable|Overloaded|InternalServer", name):
        unreachable = BackendUnavailable(f"{what}: the provider cannot be reached now; try again")
        unreachable.retryable = True
        return unreachable
    return BackendError(f"{what}; its text is withheld because it may quote the input")


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(found) < _DEPTH and link not in found:
        found.append(link)
        link = link.__cause__ or link.__context__
    return found


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that `error`, or what it was raised from, carries."""
    for link in _chain(error):
        for holder in (link, getattr(link, "response", None)):
            for key in ("status_code", "http_status", "code", "status"):
                value = getattr(holder, key, None)
                if isinstance(value, int) and 400 <= value < 600:
                    return int(value)
    return None


def _is_overflow(error: BaseException) -> bool:
    if any(_OVERFLOW_NAME.search(type(link).__name__) for link in _chain(error)):
        return True
    return _status(error) in (400, 413, 422) and _OVERFLOW_TEXT.search(str(error)) is not None
