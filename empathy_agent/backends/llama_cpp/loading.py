"""Open a GGUF file, or say in words why it does not open.

The header is read here first, because llama.cpp answers every failure with a null pointer. What it
logs on the way decides between the remaining reasons.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

from empathy_agent.backends.llama_cpp.library import load_library, take_errors
from empathy_agent.errors import BackendUnavailable

_MAGIC = b"GGUF"
_NEWEST_VERSION = 3
"""Source: `GGUF_VERSION` in ggml's `gguf.h`."""

_REASONS = (
    ("unknown model architecture", "its architecture is newer than this llama.cpp; {update}"),
    ("unknown pre-tokenizer", "its tokenizer is newer than this llama.cpp; {update}"),
    ("unknown (magic|type)", "it uses a format that this llama.cpp does not know; {update}"),
    (
        "failed to allocate",
        "there is not enough memory for its weights; use a smaller quantisation",
    ),
    ("out of memory", "there is not enough memory for its weights; use a smaller quantisation"),
    ("not within the file bounds", "the file is cut short; fetch it again"),
    ("corrupted or incomplete", "the file is cut short; fetch it again"),
)
_UPDATE = "update llama-cpp-python"


def check_file(path: Path) -> None:
    """Raise `BackendUnavailable` unless `path` is a GGUF file of a version we can read."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise BackendUnavailable(f"there is no model file at {str(path)!r}") from None
    except OSError as error:
        raise BackendUnavailable(
            f"the model file {str(path)!r} cannot be read ({type(error).__name__})"
        ) from None
    if len(head) < 8 or head[:4] != _MAGIC:
        raise BackendUnavailable(f"{str(path)!r} is not a GGUF file; llama.cpp reads only those")
    (version,) = struct.unpack("<I", head[4:])
    if version > _NEWEST_VERSION:
        raise BackendUnavailable(
            f"{str(path)!r} is GGUF version {version}, newer than this llama.cpp reads; {_UPDATE}"
        )


def load_model(path: Path, n_gpu_layers: int | None) -> Any:  # noqa: ANN401
    """Return the model pointer of the GGUF file at `path`.

    Raises:
        BackendUnavailable: With the reason in words.
    """
    check_file(path)
    library = load_library()
    params = library.llama_model_default_params()
    if n_gpu_layers is not None:
        params.n_gpu_layers = n_gpu_layers
    take_errors()
    pointer = library.llama_model_load_from_file(os.fsencode(path), params)
    if not pointer:
        raise BackendUnavailable(f"{str(path)!r} does not load: {_reason(take_errors())}")
    if not library.llama_model_has_decoder(pointer) or library.llama_model_has_encoder(pointer):
        library.llama_model_free(pointer)
        raise BackendUnavailable(f"{str(path)!r} is not a model that continues text")
    return pointer


def _reason(log: str) -> str:
    for sign, words in _REASONS:
        if sign in log:
            return words.format(update=_UPDATE)
    return f"llama.cpp refuses it; the file may be damaged, or newer than the library: {_UPDATE}"
