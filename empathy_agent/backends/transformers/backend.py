"""`TransformersBackend`: a safetensors model as a backend, with LoRA adapters if wanted.

The chat template comes from the tokenizer; a model without one gets the documented plain template.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from empathy_agent.backends.local import LocalBackend, check_choice, check_range
from empathy_agent.backends.transformers.loading import (
    DeviceMap,
    Quantization,
    Source,
    load,
    require_packages,
)
from empathy_agent.backends.worker import MAX_WAITING
from empathy_agent.errors import BackendUnavailable

_DTYPES = ("auto", "float32", "bfloat16", "float16")


class TransformersBackend(LocalBackend):
    """A model of the transformers library in this process.

    Args:
        model: A folder with `config.json`, or the name of a repository on the hub.
        n_ctx: Tokens that prompt and completion may have together; None takes what the model was
            trained for, at most 8192.
        n_threads: Threads of a computation on the CPU, for all of PyTorch in this process; None
            leaves them as they are.
        parallel_sequences: How many requests run at once, and keep their cached prefix.
        batching: Whether requests share batches, which is several times faster; otherwise they
            take turns, and no text depends on who else is served (see the README).
        max_waiting: Requests that may wait before further ones are refused with `BackendBusy`.
        device_map: Where the weights go, in the library's terms (`"cpu"`, `"cuda:1"`, `"auto"` for
            several devices); None takes the accelerator if there is one, else the CPU.
        dtype: `"float32"`, `"bfloat16"`, `"float16"`, or `"auto"` for the files' own, except that
            float16 becomes float32 on a CPU.
        quantization: `"4bit"` or `"8bit"` while loading, with bitsandbytes.
        adapters: LoRA adapters, added one after the other: merged into the weights, or kept
            beside them where those are quantised.
        revision: Branch, tag or commit of a repository.
        local_files_only: Take a repository only from the local cache.
        attention: The library's name of an attention implementation; None takes its default.
        chat_template: `"model"` for the tokenizer's own, `"plain"` for the documented plain one.
        name: What replies call the model; None takes the last part of `model`.

    Raises:
        BackendUnavailable: A library is missing, or the model or an adapter does not load.
        ConfigError: A setting is out of its range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        n_ctx: int | None = None,
        n_threads: int | None = None,
        parallel_sequences: int = 8,
        batching: bool = True,
        max_waiting: int = MAX_WAITING,
        device_map: DeviceMap | None = None,
        dtype: str = "auto",
        quantization: Quantization | None = None,
        adapters: Sequence[str | os.PathLike[str]] = (),
        revision: str | None = None,
        local_files_only: bool = False,
        attention: str | None = None,
        chat_template: Literal["model", "plain"] = "model",
        name: str | None = None,
    ) -> None:
        check_range("n_ctx", n_ctx, 256, 2**24)
        check_range("n_threads", n_threads, 1, 512)
        check_range("parallel_sequences", parallel_sequences, 1, 64)
        check_range("max_waiting", max_waiting, 1, 2**20)
        check_choice("dtype", dtype, _DTYPES)
        check_choice("quantization", quantization, (None, "4bit", "8bit"))
        require_packages()
        from empathy_agent.backends.transformers.model import TransformersModel

        source = Source(
            model=os.fspath(model),
            device_map=device_map,
            dtype=dtype,
            quantization=quantization,
            adapters=tuple(os.fspath(one) for one in adapters),
            revision=revision,
            local_files_only=local_files_only,
            attention=attention,
        )
        loaded = load(source)
        if n_threads is not None:
            _set_threads(n_threads)
        opened = TransformersModel(
            loaded, context_size=n_ctx, parallel_sequences=parallel_sequences
        )
        super().__init__(
            opened,
            opened.vocabulary,
            name=name or Path(model).name,
            template=_template(loaded.tokenizer) if chat_template == "model" else None,
            languages=loaded.languages,
            is_demonstration=loaded.is_demonstration,
            parallel_sequences=parallel_sequences,
            batching=batching,
            max_waiting=max_waiting,
        )


def is_available() -> bool:
    """Return whether the libraries are installed."""
    try:
        require_packages()
    except BackendUnavailable:
        return False
    return True


def _template(tokenizer: Any) -> str | None:  # noqa: ANN401
    """Return the tokenizer's template, the default one where it has several."""
    template = tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template


def _set_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)
