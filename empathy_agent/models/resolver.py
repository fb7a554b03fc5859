"""From what a person writes after `--model` to an open backend, in one place.

`resolve_model` reads the spec (see `specs`), checks the embedded model against its SHA-256 and
fetches what is on the hub; `open_backend` opens the backend that fits. A backend's module is
imported only when it is the one, so that nobody pays for libraries of the others.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empathy_agent.backends.base import Backend
from empathy_agent.errors import BackendUnavailable, ConfigError
from empathy_agent.models.hub_spec import HubSpec
from empathy_agent.models.specs import Chat, Endpoint, LocalFile, LocalFolder, Named, read_spec

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

TINY_PATH = Path(__file__).with_name("empathy-tiny-zh.gguf")

ModelRef = Named | LocalFile | LocalFolder | Endpoint | Chat
"""A model that can be opened: what had to be fetched is here."""


def resolve_model(spec: str | os.PathLike[str] | BaseChatModel) -> ModelRef:
    """Return the model that `spec` names, fetching it first where it is on the hub.

    Raises:
        ConfigError: `spec` names nothing that can be opened.
        BackendUnavailable: The embedded model is missing or damaged, or the hub's cannot be had.
    """
    reference = read_spec(spec)
    if reference == Named("tiny"):
        verify_checksum(TINY_PATH)
        return LocalFile(TINY_PATH, TINY_PATH.stem)
    if isinstance(reference, HubSpec):
        from empathy_agent.models.hub import fetch

        path = fetch(reference)
        return LocalFolder(path, reference.repo) if path.is_dir() else LocalFile(path)
    return reference


def open_backend(
    spec: str | os.PathLike[str] | BaseChatModel = "tiny",
    **options: Any,  # noqa: ANN401
) -> Backend:
    """Open the model that `spec` names.

    Args:
        spec: See `specs`.
        **options: Options of the backend that opens it.

    Raises:
        ConfigError: The spec or an option is unusable.
        BackendUnavailable: The model does not load or cannot be reached.
    """
    match resolve_model(spec):
        case LocalFile(path, name):
            from empathy_agent.backends.llama_cpp import LlamaCppBackend

            return _open(LlamaCppBackend, (path,), {"name": name, **options})
        case LocalFolder(path, name):
            from empathy_agent.backends.transformers import TransformersBackend

            return _open(TransformersBackend, (path,), {"name": name, **options})
        case Endpoint(base_url, model):
            from empathy_agent.backends.completions import CompletionsBackend

            return _open(CompletionsBackend, (base_url,), {"model": model, **options})
        case Chat(chat):
            from empathy_agent.backends.chat import ChatBackend

            return _open(ChatBackend, (chat,), options)
        case Named():
            from empathy_agent.backends.fake import FakeBackend

            return _open(FakeBackend, (), options)


def _open(
    kind: Callable[..., Backend], positional: tuple[object, ...], options: dict[str, Any]
) -> Backend:
    names = [*inspect.signature(kind).parameters][len(positional) :]
    _check_options(names, options)
    return kind(*positional, **options)


def _check_options(names: Iterable[str], options: Iterable[str]) -> None:
    known = sorted(names)
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
