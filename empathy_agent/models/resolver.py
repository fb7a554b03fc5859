"""From what a person writes after `--model` to an open backend.

`"tiny"` is the GGUF inside the package, checked against its SHA-256 before it is used; a path to a
`.gguf` file is any other local model; `"fake"` is the scripted one. Whatever else is asked for is
refused with the list of what is possible.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empathy_agent.backends.base import Backend
from empathy_agent.errors import BackendUnavailable, ConfigError

TINY_PATH = Path(__file__).with_name("empathy-tiny-zh.gguf")
_POSSIBLE = (
    "possible are 'tiny' (the embedded Chinese demonstration model), 'fake' (scripted, for tests) "
    "and the path of a .gguf file"
)


@dataclass(frozen=True)
class ModelRef:
    """A model that can be opened."""

    spec: str
    """What was asked for."""
    path: Path | None
    """The GGUF file; None for the fake."""
    name: str | None = None
    """What replies call the model; None takes the name in the file."""


def resolve_model(spec: str | os.PathLike[str]) -> ModelRef:
    """Return the model that `spec` names.

    Raises:
        ConfigError: `spec` names nothing that can be opened today.
        BackendUnavailable: The embedded model is missing or damaged.
    """
    text = os.fspath(spec)
    if text == "tiny":
        verify_checksum(TINY_PATH)
        return ModelRef(text, TINY_PATH, TINY_PATH.stem)
    if text == "fake":
        return ModelRef(text, None, "fake")
    if text.startswith("hf:"):
        raise ConfigError(f"model {text!r}: fetching from a hub is not built yet; {_POSSIBLE}")
    path = Path(text).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ConfigError(f"there is no model file at {str(path)!r}; {_POSSIBLE}")
        return ModelRef(text, path)
    raise ConfigError(f"unknown model {text!r}; {_POSSIBLE}")


def open_backend(spec: str | os.PathLike[str] = "tiny", **options: Any) -> Backend:  # noqa: ANN401
    """Open the model that `spec` names.

    Args:
        spec: See `resolve_model`.
        **options: Options of the backend: those of `LlamaCppBackend`, or of `FakeBackend`.

    Raises:
        ConfigError: The spec or an option is unusable.
        BackendUnavailable: The model does not load.
    """
    ref = resolve_model(spec)
    if ref.path is None:
        from empathy_agent.backends.fake import FakeBackend

        _check_options(FakeBackend, options)
        return FakeBackend(**options)
    from empathy_agent.backends.llama_cpp import LlamaCppBackend

    _check_options(LlamaCppBackend, options)
    return LlamaCppBackend(ref.path, **{"name": ref.name, **options})


def _check_options(kind: type[Backend], options: Iterable[str]) -> None:
    known = sorted({*inspect.signature(kind).parameters} - {"path"})
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"unknown option {option!r} for this model; {hint}")


def verify_checksum(path: Path) -> None:
    """Check a file against the `.sha256` beside it.

    Raises:
        BackendUnavailable: One of the two is missing, or they do not agree.
    """
    side = path.with_name(f"{path.name}.sha256")
    try:
        expected = side.read_text(encoding="ascii").split()[0].lower()
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, IndexError):
        raise BackendUnavailable(
            f"the embedded model {path.name!r} or its checksum is missing from this installation; "
            "install the wheel again, or pass the path of another .gguf file"
        ) from None
    if found != expected:
        raise BackendUnavailable(
            f"the embedded model {path.name!r} is damaged; install the wheel again"
        )
