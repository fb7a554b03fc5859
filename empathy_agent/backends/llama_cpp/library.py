"""The shared library of llama-cpp-python, loaded once, with its log kept off the terminal.

llama.cpp logs through one global callback, which the Python package points at stderr. Ours drops
everything but the errors of the load in progress, which `loading` turns into words. The log may
name files and architectures; it never holds a prompt, and nothing of it is passed on.
"""

from __future__ import annotations

import atexit
import ctypes
from collections import deque
from functools import cache
from types import ModuleType

from empathy_agent.errors import BackendUnavailable

_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
_recent_errors: deque[str] = deque(maxlen=20)
_callbacks: list[object] = []  # llama.cpp keeps only the pointer


@cache
def load_library() -> ModuleType:
    """Return `llama_cpp.llama_cpp`, silenced.

    Raises:
        BackendUnavailable: llama-cpp-python is missing or its shared library does not load.
    """
    try:
        from llama_cpp import _utils
        from llama_cpp import llama_cpp as library
    except ImportError:
        raise BackendUnavailable(
            "llama-cpp-python is not installed; install empathy-agent[llamacpp]"
        ) from None
    except (OSError, RuntimeError) as error:
        raise BackendUnavailable(
            "the shared library of llama-cpp-python does not load on this machine "
            f"({type(error).__name__}); build it here: "
            "pip install --force-reinstall --no-binary :all: llama-cpp-python"
        ) from None

    # The package opens the null device twice at import and never closes it.
    for file in (_utils.outnull_file, _utils.errnull_file):
        atexit.register(file.close)

    def keep_errors(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
        if level == _ERROR_LEVEL:
            _recent_errors.append(text.decode("utf-8", "replace"))

    callback = library.llama_log_callback(keep_errors)
    _callbacks.append(callback)
    library.llama_log_set(callback, ctypes.c_void_p(0))
    library.llama_backend_init()
    return library


def take_errors() -> str:
    """Return the library's error lines since the last call, and forget them."""
    text = "".join(_recent_errors)
    _recent_errors.clear()
    return text
