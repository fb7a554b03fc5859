"""Fetch models from a hub of Hugging Face's kind into its own cache, verified before they are used.

What is cached is opened without asking the hub, so that a restart never changes the model and needs
no network; `models pull` (`refresh=True`) asks for the newest, hashes what is there and repairs it.
huggingface_hub keeps the cache (HF_HOME), the token (HF_TOKEN) and the address (HF_ENDPOINT, for
mirrors); HF_HUB_OFFLINE and EMPATHY_OFFLINE leave only the cache. Progress goes to stderr, and only
on a terminal. Data pass: spec -> listing -> choice -> verified blobs -> links -> path.
"""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from logging import ERROR
from pathlib import Path
from typing import Any

from empathy_agent.errors import BackendUnavailable, EmpathyAgentError
from empathy_agent.models.hub_cache import (
    COMMIT,
    cached_files,
    find_cached,
    reference_file,
)
from empathy_agent.models.hub_errors import explain, not_cached
from empathy_agent.models.hub_spec import HubSpec, choose
from empathy_agent.models.hub_transfer import LIBRARY, HubFile, agrees, blobs_folder, fetch_blobs

_FIRST_ANSWER_S = 20.0
"""How long the hub may be silent at first; the library itself would wait for ever."""
_DOWNLOADING = threading.Lock()
"""One at a time in a process, since each changes how loud the library is."""


def fetch(spec: HubSpec, *, refresh: bool = False, local_only: bool = False) -> Path:
    """Return where the model is, fetching it first if it is not in the cache.

    Args:
        spec: What to fetch.
        refresh: Ask the hub for the newest and check every byte of what is cached.
        local_only: Never ask the hub.

    Returns:
        The GGUF file (the first of several parts), or the folder of a safetensors snapshot.

    Raises:
        ConfigError: The repository, revision or file does not exist, or is closed to this token.
        BackendUnavailable: It cannot be fetched: no network, no room, wrong bytes, package missing.
    """
    if find_spec("huggingface_hub") is None:
        raise BackendUnavailable(
            "models are fetched with huggingface_hub: pip install 'empathy-agent[hub]'"
        )
    try:
        return _fetch(spec, refresh, local_only)
    except EmpathyAgentError:
        raise
    except Exception as caught:
        error = explain(caught, spec)
    raise error


def _fetch(spec: HubSpec, refresh: bool, local_only: bool) -> Path:
    is_offline = _is_offline()
    if refresh and is_offline:
        raise BackendUnavailable(
            "nothing can be fetched offline; unset HF_HUB_OFFLINE and EMPATHY_OFFLINE"
        )
    stays_local = is_offline or local_only
    if not refresh:
        cached = find_cached(spec, is_last_word=stays_local)
        if cached is not None:
            return cached
    if stays_local:
        reason = "this is offline" if is_offline else "only the cache was asked"
        raise not_cached(spec, reason, cached_files(spec))
    with _DOWNLOADING, _quiet_library():
        return _download(spec)


def _is_offline() -> bool:
    """Return whether the environment forbids asking the hub; the first to import the library."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # it may have been imported before us
    ours = os.environ.get("EMPATHY_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    return ours or constants.is_offline_mode()


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keep the library's warnings back for the block: they quote signed addresses."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _download(spec: HubSpec) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(library_name=LIBRARY)
    commit = api.model_info(spec.repo, revision=spec.revision, timeout=_FIRST_ANSWER_S).sha
    if commit is None or not COMMIT.fullmatch(commit):
        raise BackendUnavailable("the hub names no commit; check HF_ENDPOINT")
    listing = {
        entry.path: HubFile(
            entry.path, entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id
        )
        for entry in api.list_repo_tree(spec.repo, recursive=True, revision=commit)
        if isinstance(entry, RepoFile)
    }
    choice = choose(spec, listing)
    files = [listing[name] for name in choice.files]
    fetch_blobs(spec, commit, files)
    folder = Path(
        snapshot_download(  # the contents are there: it keeps the listing and makes the links
            spec.repo,
            revision=commit,
            allow_patterns=[glob.escape(name) for name in choice.files],
            library_name=LIBRARY,
            tqdm_class=_silent_bar(),
            max_workers=1,
        )
    )
    _check_links(spec, folder, files)
    _point(spec, commit)
    return folder / choice.opened if choice.opened else folder


def _check_links(spec: HubSpec, folder: Path, files: Sequence[HubFile]) -> None:
    """Check what is no link to a verified content: a copy, where a system has no links."""
    blobs = blobs_folder(spec).resolve()
    for file in files:
        path = folder / file.path
        if path.resolve() != blobs / file.digest and not agrees(path, file):
            path.unlink(missing_ok=True)
            raise BackendUnavailable(f"{file.path!r} in the cache was damaged; run the same again")


def _point(spec: HubSpec, commit: str) -> None:
    """Record which commit a branch or tag means: last, so that a failed refresh changes nothing."""
    if spec.revision == commit:
        return
    reference = reference_file(spec)
    reference.parent.mkdir(parents=True, exist_ok=True)
    draft = reference.with_name(f"{reference.name}.{os.getpid()}")
    draft.write_text(commit, "utf-8")
    draft.replace(reference)


def _silent_bar() -> Any:  # noqa: ANN401 - a class made from one of the library's
    from huggingface_hub.utils.tqdm import tqdm

    class SilentBar(tqdm):
        """A bar that never shows: those of the transfers are enough."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

    return SilentBar
