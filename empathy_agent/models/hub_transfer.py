"""Bring files from the hub into the cache, so that only what was verified is ever in it.

A partial file outlives the process: the next attempt asks for the rest by `Range`. A file gets its
name in the cache, which is its digest, after its SHA-256 (git's SHA-1, for small files) agreed with
the hub's listing. huggingface_hub would delete what arrived when a transfer breaks off for good,
and checks sizes only, hence this; its `http_get` does the transfer, with retries and progress bar.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from empathy_agent.errors import BackendUnavailable
from empathy_agent.models.hub_cache import repository_folder
from empathy_agent.models.hub_errors import disk_full
from empathy_agent.models.hub_spec import HubSpec

LIBRARY = "empathy-agent"
"""How requests name who asks."""
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFile:
    """A file as the hub lists it."""

    path: str
    size: int
    digest: str
    """SHA-256 of a large (LFS) file; of others git's SHA-1, over a header and the content."""


def fetch_blobs(spec: HubSpec, commit: str, files: Sequence[HubFile]) -> None:
    """Have every file's content in the cache, fetching what is missing or does not agree.

    Raises:
        BackendUnavailable: No room, no checksum, or what arrived does not agree with it.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    blobs = blobs_folder(spec)
    repository = repository_folder(spec)
    locks = repository.parent / ".locks" / repository.name  # where the library has its own
    for folder in (blobs, locks):
        folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not _DIGEST.fullmatch(file.digest):
            raise BackendUnavailable(f"the hub lists no checksum for {file.path!r}")
    missing = [file for file in files if not agrees(blobs / file.digest, file)]
    needed = sum(max(file.size - _size(_partial(blobs, file)), 0) for file in missing)
    free = shutil.disk_usage(blobs).free
    if needed > free:
        raise disk_full(needed, free)
    for file in missing:
        with WeakFileLock(locks / f"{file.digest}.lock"):
            if not agrees(blobs / file.digest, file):  # another process may have brought it
                _fetch_blob(spec, commit, file, blobs)


def blobs_folder(spec: HubSpec) -> Path:
    """Return where the cache keeps contents by their digests."""
    return repository_folder(spec) / "blobs"


def agrees(path: Path, file: HubFile) -> bool:
    """Return whether `path` has the size and the digest that the hub lists."""
    if not path.is_file() or _size(path) != file.size:
        return False
    with path.open("rb") as stream:
        if len(file.digest) == 64:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.digest
        content = b"blob %d\0" % file.size + stream.read()
    return hashlib.sha1(content, usedforsecurity=False).hexdigest() == file.digest


def _fetch_blob(spec: HubSpec, commit: str, file: HubFile, blobs: Path) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    partial = _partial(blobs, file)
    if _size(partial) > file.size:
        partial.unlink()
    # Compressed answers cannot be continued. A redirect to another host drops the token.
    headers = {**build_hf_headers(library_name=LIBRARY), "Accept-Encoding": "identity"}
    with partial.open("ab") as stream:
        http_get(
            hf_hub_url(spec.repo, file.path, revision=commit),
            stream,
            resume_size=stream.tell(),
            headers=headers,
            expected_size=file.size,
            displayed_filename=file.path,
        )
    if not agrees(partial, file):
        partial.unlink()
        raise BackendUnavailable(
            f"what arrived as {file.path!r} is not what the hub lists (its checksum differs); it "
            "was deleted. Run the same again; if it stays so, a mirror or proxy alters files"
        )
    partial.replace(blobs / file.digest)


def _partial(blobs: Path, file: HubFile) -> Path:
    return blobs / f"{file.digest}.partial"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
