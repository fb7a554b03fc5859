"""`LlamaCppBackend`: a GGUF file as a backend.

The chat template comes from the file; a file without one gets the documented plain template.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from empathy_agent.backends.llama_cpp.library import load_library
from empathy_agent.backends.llama_cpp.model import CACHE_BYTES, CacheType, LlamaModel
from empathy_agent.backends.local import LocalBackend, check_choice, check_range
from empathy_agent.backends.worker import MAX_WAITING
from empathy_agent.errors import BackendUnavailable

LANGUAGES_KEY = "empathy_agent.languages"
DEMONSTRATION_KEY = "empathy_agent.demonstration"
"""GGUF metadata of models we train: their languages, parted by commas ("zh")."""


class LlamaCppBackend(LocalBackend):
    """A GGUF model in this process.

    Args:
        path: The GGUF file.
        n_ctx: Tokens that prompt and completion may have together; None takes what the model was
            trained for, at most 8192.
        n_threads: Threads of a computation; None takes the physical cores of this process.
        parallel_sequences: How many requests run at once, and keep their cached prefix.
        batching: Whether requests share batches, which serves many at once sooner; otherwise they
            take turns, and no text depends on who else is served (docs/decisions/0005-batching.md).
        max_waiting: Requests that may wait before further ones are refused with `BackendBusy`.
        cache_tokens: Tokens that all requests may hold together; None for a full context each, as
            far as they fit 1 GiB. At least one context.
        n_gpu_layers: Layers to put on a GPU; None leaves it to llama.cpp.
        cache_type: How the cache keeps keys and values: `"q8_0"` takes half the memory of `"f16"`,
            `"f32"` rounds nothing.
        chat_template: `"model"` for the file's own, `"plain"` for the documented plain one.
        name: What replies call the model; None takes the name in the file.

    Raises:
        BackendUnavailable: llama-cpp-python is missing, or the file does not load.
        ConfigError: A count is out of its range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        n_ctx: int | None = None,
        n_threads: int | None = None,
        parallel_sequences: int = 8,
        batching: bool = True,
        max_waiting: int = MAX_WAITING,
        cache_tokens: int | None = None,
        n_gpu_layers: int | None = None,
        cache_type: CacheType = "f16",
        chat_template: Literal["model", "plain"] = "model",
        name: str | None = None,
    ) -> None:
        file = Path(path)
        # llama.cpp ends the process where such a number makes no sense.
        check_range("n_ctx", n_ctx, 256, 2**24)
        check_range("n_threads", n_threads, 1, 512)
        check_range("parallel_sequences", parallel_sequences, 1, 64)
        check_range("cache_tokens", cache_tokens, 256, 2**28)
        check_range("max_waiting", max_waiting, 1, 2**20)
        check_choice("cache_type", cache_type, tuple(CACHE_BYTES))
        model = LlamaModel(
            file,
            context_size=n_ctx,
            parallel_sequences=parallel_sequences,
            threads=n_threads or physical_cores(),
            n_gpu_layers=n_gpu_layers,
            cache_type=cache_type,
            cache_tokens=cache_tokens,
        )
        vocabulary = model.vocabulary
        languages = vocabulary.metadata(LANGUAGES_KEY)
        super().__init__(
            model,
            vocabulary,
            name=name or vocabulary.metadata("general.name") or file.stem,
            template=model.chat_template if chat_template == "model" else None,
            languages=tuple(languages.split(",")) if languages else None,
            is_demonstration=vocabulary.metadata(DEMONSTRATION_KEY) == "true",
            parallel_sequences=parallel_sequences,
            batching=batching,
            max_waiting=max_waiting,
        )


def is_available() -> bool:
    """Return whether llama-cpp-python is installed and loads."""
    try:
        load_library()
    except BackendUnavailable:
        return False
    return True


def physical_cores() -> int:
    """Return how many physical cores this process may run on; a second thread a core only slows."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return max(len(cores), 1)
