"""What the libraries say while a model loads: kept off the terminal, and put into words of ours.

Their messages may be long, may name paths of the machine and change with each version; what a
person can do about a failure is said here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from empathy_agent.errors import BackendUnavailable, EmpathyAgentError

INSTALL = "install empathy-agent[transformers]"
USE_GGUF = "use its GGUF with llama.cpp"


def explained(what: str, action: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Return what `action` does; turn what a library raises into words of ours."""
    try:
        return action()
    except EmpathyAgentError:
        raise
    except Exception as error:
        reason = reason_of(error)
    # Raised outside the handler, so that not even `__context__` holds the foreign exception.
    raise BackendUnavailable(f"{what} does not load: {reason}")


def reason_of(error: Exception) -> str:
    """Return why a model does not load, and what to do."""
    text, kind = str(error), type(error).__name__
    if kind == "OutOfMemoryError" or isinstance(error, MemoryError) or "allocate memory" in text:
        return "there is not enough memory for it; take a smaller model, dtype or quantization"
    if "trust_remote_code" in text:
        return f"it needs code from its repository, which is never run here; {USE_GGUF}"
    if "does not recognize this architecture" in text or "Unrecognized model" in text:
        return "its architecture is none that this transformers knows; update transformers"
    if isinstance(error, ImportError):
        return f"a package that it needs is missing ({error.name or 'see its model card'})"
    if kind == "SafetensorError" or "size mismatch" in text or "mismatch" in text:
        return "its weights are damaged, or belong to another model"
    if isinstance(error, OSError):
        return (
            "a file of it is neither here nor can it be fetched; check the name, the revision, "
            "the network and your access to the repository"
        )
    if isinstance(error, ValueError | KeyError | TypeError | RuntimeError):
        return f"its files do not fit this version of the libraries, or each other ({kind})"
    return f"the libraries failed with {kind}"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars, log lines and warnings of the libraries off the terminal."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    level, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if has_bar:
            logging.enable_progress_bar()
