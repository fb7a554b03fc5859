"""What `hf:` means: the grammar, and which files of a repository a spec asks for.

    hf:org/repo                        the best GGUF by `PREFERENCE`, else the safetensors snapshot
    hf:org/repo/file.gguf              that file; folders may come before its name
    hf:org/repo/Q4_K_M                 the GGUF of that quantisation, in whatever case
    hf:org/repo/x-00001-of-00003.gguf  all parts; the first is what is opened
    ...@revision                       a branch, a tag, a commit; `main` where none is named

Nothing here reaches a network: `choose` is given the list of a repository's files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath

from empathy_agent.errors import ConfigError

PREFERENCE = (
    *("Q4_K_M", "Q5_K_M", "Q8_0", "Q6_K", "Q5_K_S", "Q4_K_S", "Q5_0", "Q4_0", "IQ4_XS", "IQ4_NL"),
    *("Q3_K_M", "Q3_K_L", "Q3_K_S", "Q2_K", "BF16", "F16", "F32"),
)
"""Which GGUF is taken where a spec names none: small enough for most machines comes first."""

_SPEC = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>.+))?", re.A)
_REVISION = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*", re.A)
_PART = re.compile(r"-(?P<part>\d{5})-of-(?P<count>\d{5})$")
_QUANTISATION = re.compile(r"(?:^|[-._])(I?Q\d\w*|BF16|F16|F32|FP16|MXFP4\w*)$", re.I | re.A)
_SNAPSHOT_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""What a snapshot is made of: never code and never pickles."""
_SHOWN = 12


@dataclass(frozen=True)
class HubSpec:
    """A repository on the hub, perhaps a file of it, perhaps a revision."""

    repo: str
    file: str | None = None
    revision: str = "main"

    def __str__(self) -> str:
        """Return the spec as it would be written."""
        file = f"/{self.file}" if self.file else ""
        return f"hf:{self.repo}{file}" + ("" if self.revision == "main" else f"@{self.revision}")


@dataclass(frozen=True)
class Choice:
    """The files to have, and the one to open: None opens the folder they are in."""

    files: tuple[str, ...]
    opened: str | None


def parse_spec(text: str) -> HubSpec:
    """Read an `hf:` spec.

    Raises:
        ConfigError: It does not follow the grammar above.
    """
    found = _SPEC.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"cannot read {text!r}; write hf:org/repo, hf:org/repo/file.gguf or "
            "hf:org/repo/Q4_K_M, with @revision behind it if you need one"
        )
    file, revision = found["file"], found["revision"] or "main"
    if not _REVISION.fullmatch(revision) or (file and ".." in PurePosixPath(file).parts):
        raise ConfigError(f"{text!r} names a revision or a file that cannot exist")
    return HubSpec(found["repo"], file, revision)


def choose(spec: HubSpec, files: Iterable[str]) -> Choice:
    """Return which of a repository's `files` the spec asks for.

    Raises:
        ConfigError: None of them, or more than one; the message says what there is.
    """
    files = sorted(files)
    models = _models(files)
    if spec.file is None:
        return _best(spec, models) if models else _snapshot(spec, files)
    wanted = spec.file.lower()
    if wanted.endswith(".gguf"):
        for parts in models.values():
            if wanted in (part.lower() for part in parts):
                return Choice(parts, parts[0])
    else:
        named = {stem: parts for stem, parts in models.items() if _quantisation(stem) == wanted}
        if len(named) == 1:
            (parts,) = named.values()
            return Choice(parts, parts[0])
        if named:
            raise ConfigError(f"{spec} could be {_listed(_first_parts(named))}; name the file")
    there = _first_parts(models)
    near = get_close_matches(wanted, [name.lower() for name in there], n=1, cutoff=0.8)
    hint = next((name for name in there if near and name.lower() == near[0]), None)
    raise ConfigError(
        f"{spec.repo!r} has no GGUF file {spec.file!r}; "
        + (f"did you mean {hint!r}?" if hint else f"it has {_listed(there or files)}")
    )


def _models(files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the complete GGUF models by their path without suffix and part number."""
    found: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for file in files:
        path = PurePosixPath(file)
        if path.suffix.lower() != ".gguf" or path.name.lower().startswith("mmproj"):
            continue
        stem = str(path.with_suffix(""))
        part = _PART.search(stem)
        key = stem[: part.start()] if part else stem
        found.setdefault(key, []).append(file)
        counts[key] = int(part["count"]) if part else 1
    return {key: tuple(parts) for key, parts in found.items() if len(parts) == counts[key]}


def _quantisation(stem: str) -> str | None:
    found = _QUANTISATION.search(PurePosixPath(stem).name)
    return found[1].lower() if found else None


def _best(spec: HubSpec, models: Mapping[str, tuple[str, ...]]) -> Choice:
    for name in PREFERENCE:
        for stem, parts in models.items():
            if _quantisation(stem) == name.lower():
                return Choice(parts, parts[0])
    if len(models) > 1:
        raise ConfigError(f"{spec} could be {_listed(_first_parts(models))}; name the file")
    (parts,) = models.values()
    return Choice(parts, parts[0])


def _snapshot(spec: HubSpec, files: list[str]) -> Choice:
    wanted = tuple(
        file
        for file in files
        if "/" not in file
        and file.endswith(_SNAPSHOT_SUFFIXES)
        and not file.startswith("consolidated")  # the same weights again, in Mistral's own layout
    )
    if "config.json" in wanted and any(file.endswith(".safetensors") for file in wanted):
        return Choice(wanted, None)
    raise ConfigError(
        f"{spec.repo!r} holds neither GGUF files nor a config.json with safetensors; "
        f"it has {_listed(files)}"
    )


def _first_parts(models: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [parts[0] for parts in models.values()]


def _listed(files: list[str]) -> str:
    rest = len(files) - _SHOWN
    shown = ", ".join(files[:_SHOWN]) or "no files"
    return f"{shown} and {rest} more" if rest > 0 else shown
