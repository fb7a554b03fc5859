"""What of a repository is in huggingface_hub's cache already; nothing here reaches a network.

The cache keeps the listing of each commit that was fetched, so that a later opening makes the same
choice as the fetch did and can compare sizes. A repository that another program fetched may have no
listing: then, offline, what its folder holds is taken for all there is.
"""

from __future__ import annotations

import re
from pathlib import Path

from empathy_agent.errors import ConfigError
from empathy_agent.models.hub_spec import HubSpec, choose

COMMIT = re.compile(r"[0-9a-f]{40}")


def repository_folder(spec: HubSpec) -> Path:
    """Return the repository's folder in the cache.

    Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=spec.repo, repo_type="model")


def find_cached(spec: HubSpec, *, is_last_word: bool) -> Path | None:
    """Return the model if all its files are cached, with the sizes that the hub listed.

    Args:
        spec: What is asked for.
        is_last_word: The hub will not be asked, so that the cache alone decides what exists.

    Raises:
        ConfigError: The cache is the last word, and its listing lacks what is asked for.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    sizes: dict[str, int | None]
    try:
        tree = get_cached_repo_tree(spec.repo, revision=spec.revision)
        sizes = {file.path: file.size for file in tree}
    except CachedRepoTreeNotFoundError:
        sizes = dict.fromkeys(cached_files(spec)) if is_last_word else {}
    folder = snapshot_folder(spec)
    if not sizes or folder is None:
        return None
    try:
        choice = choose(spec, sizes)
    except ConfigError:  # the hub may have it by now
        if is_last_word:
            raise
        return None
    for name in choice.files:
        path = folder / name
        if not path.is_file() or sizes[name] not in (None, path.stat().st_size):
            return None
    return folder / choice.opened if choice.opened else folder


def cached_files(spec: HubSpec) -> list[str]:
    """Return the files of the revision that are in the cache."""
    folder = snapshot_folder(spec)
    if folder is None:
        return []
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def snapshot_folder(spec: HubSpec) -> Path | None:
    """Return the cached folder of the revision."""
    commit = spec.revision
    if not COMMIT.fullmatch(commit):
        reference = reference_file(spec)
        commit = reference.read_text("utf-8").strip() if reference.is_file() else ""
    folder = repository_folder(spec) / "snapshots" / commit
    return folder if COMMIT.fullmatch(commit) and folder.is_dir() else None


def reference_file(spec: HubSpec) -> Path:
    """Return the file that says which commit a branch or tag means."""
    return repository_folder(spec) / "refs" / spec.revision
