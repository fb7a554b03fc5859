"""What can go wrong with the hub, in words: the cause, then what to do.

Foreign texts are never repeated, since they hold signed addresses. The token is never printed.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import cast

from empathy_agent.errors import BackendUnavailable, ConfigError, EmpathyAgentError
from empathy_agent.models.hub_spec import HubSpec


def not_cached(spec: HubSpec, reason: str, there: Sequence[str]) -> BackendUnavailable:
    """Return the error of a model that is not in the cache while the hub may not be asked."""
    models = [name for name in there if name.endswith(".gguf")]
    others = f" (of this repository the cache has {', '.join(models)})" if models else ""
    return BackendUnavailable(
        f"{spec} is not in the cache{others}, and {reason}; while online run "
        f"`empathy-agent models pull {spec}`"
    )


def disk_full(needed: int, free: int | None = None) -> BackendUnavailable:
    """Return the error of a disk without room for `needed` bytes."""
    left = "" if free is None else f", {free / 1e9:.1f} GB are free"
    return BackendUnavailable(
        f"the disk of the model cache is full: {needed / 1e9:.1f} GB are needed{left}; make room, "
        "or set HF_HOME to a folder on a larger disk"
    )


def explain(error: Exception, spec: HubSpec) -> EmpathyAgentError:
    """Return what a foreign exception means; to be raised outside of the handler."""
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = cast("Exception", error.__cause__)  # why the hub could not be asked
    if isinstance(error, errors.FileMetadataError):
        return BackendUnavailable("what answers at HF_ENDPOINT does not speak like a hub; check it")
    if isinstance(error, errors.RevisionNotFoundError):
        return ConfigError(f"{spec.repo!r} has no revision {spec.revision!r}; see its page")
    if isinstance(error, errors.GatedRepoError):
        return _gated(spec)
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_status(error.response.status_code, spec)
    if isinstance(error, httpx2.ProxyError):
        return _retryable("the proxy of the environment refuses the connection; check HTTPS_PROXY")
    if isinstance(error, httpx2.TransportError):
        return _retryable(
            f"the hub cannot be reached, or the connection broke ({type(error).__name__}); run the "
            "same again, what has arrived is kept. Where the hub is blocked, set HF_ENDPOINT to a "
            "mirror"
        )
    if isinstance(error, OSError):
        return _explain_system(error)
    return BackendUnavailable(f"fetching {spec} failed with {type(error).__name__}")


def _explain_status(status: int, spec: HubSpec) -> EmpathyAgentError:
    if status in (401, 404):
        return ConfigError(
            f"the hub has no repository {spec.repo!r}, or it is private; check the name, and set "
            "HF_TOKEN if it is yours"
        )
    if status == 403:
        return _gated(spec)
    if status == 429:
        return _retryable("the hub refuses further requests for a while; wait, or set HF_TOKEN")
    return _retryable(f"the hub answers {status}; run the same again later, what has come is kept")


def _explain_system(error: OSError) -> BackendUnavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BackendUnavailable(
            "the disk of the model cache is full; make room, or set HF_HOME to a folder on a "
            "larger disk, and run the same again: what has arrived is kept"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BackendUnavailable(
            "the model cache cannot be written; set HF_HOME to a folder of your own"
        )
    return _retryable(
        f"the model cache or the download failed with {type(error).__name__}; run the same again"
    )


def _gated(spec: HubSpec) -> ConfigError:
    return ConfigError(
        f"{spec.repo!r} is open only to who accepted its licence: do so on its page, make a token "
        "with read access and set HF_TOKEN to it"
    )


def _retryable(message: str) -> BackendUnavailable:
    error = BackendUnavailable(message)
    error.retryable = True
    return error
