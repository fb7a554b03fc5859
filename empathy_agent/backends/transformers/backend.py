"""`TransformersBackend`: a safetensors model as a backend, with LoRA adapters if wanted.

The chat template comes from the tokenizer; a model without one gets the documented plain template.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from empathy_agent.backends.chat_template import load_template, plain_template, render_segments
from empathy_agent.backends.requests import Capabilities, Message
from empathy_agent.backends.token_backend import TokenBackend
from empathy_agent.backends.transformers.loading import (
    DeviceMap,
    Quantization,
    Source,
    load,
    require_packages,
)
from empathy_agent.backends.worker import MAX_WAITING
from empathy_agent.errors import BackendUnavailable, ConfigError
from empathy_agent.segments import Segment

_DTYPES = ("auto", "float32", "bfloat16", "float16")


class TransformersBackend(TokenBackend):
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
        _check_range("n_ctx", n_ctx, 256, 2**24)
        _check_range("n_threads", n_threads, 1, 512)
        _check_range("parallel_sequences", parallel_sequences, 1, 64)
        _check_range("max_waiting", max_waiting, 1, 2**20)
        _check_choice("dtype", dtype, _DTYPES)
        _check_choice("quantization", quantization, (None, "4bit", "8bit"))
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
        super().__init__(opened, parallel_sequences, is_batching=batching, max_waiting=max_waiting)
        vocabulary = opened.vocabulary
        template = _template(loaded.tokenizer) if chat_template == "model" else None
        self._name = name or Path(model).name
        self._bos = vocabulary.bos if vocabulary.adds_bos else ""
        self._apply = (
            plain_template
            if template is None
            else load_template(template, bos=vocabulary.bos, eos=vocabulary.eos)
        )
        self._special_strings = vocabulary.special_strings
        self._capabilities = Capabilities(
            ids=True,
            exact_borders=vocabulary.has_exact_borders,
            prefix_cache=True,
            rollback=True,
            chat_template="plain" if template is None else "model",
            control_tags=vocabulary.has_control_tags,
            parallel_sequences=parallel_sequences,
            languages=loaded.languages,
            demonstration=loaded.is_demonstration,
            guided_quotes=True,
            batch_invariant=not batching,
        )

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What this model and library promise."""
        return self._capabilities

    @property
    def special_strings(self) -> tuple[str, ...]:
        """The special strings of the vocabulary, for `segments.escape`."""
        return self._special_strings

    def render(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Apply the chat template, with the token that begins every prompt where there is one."""
        segments = render_segments(self._apply, messages)
        if self._bos and not segments[0].text.startswith(self._bos):
            return (Segment(self._bos, control=True), *segments)
        return segments


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


def _check_range(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise ConfigError(f"{name!r} must be from {least} to {most}, not {value!r}")


def _check_choice(name: str, value: str | None, choices: Sequence[str | None]) -> None:
    if value not in choices:
        raise ConfigError(f"{name!r} must be one of {', '.join(map(repr, choices))}, not {value!r}")
