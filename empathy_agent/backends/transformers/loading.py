"""Open a model folder or a repository, or say in words why it does not open.

Code of a repository is never run and nothing is reported to a hub. What the libraries print and
raise on the way goes through `failures`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from empathy_agent.backends.transformers.failures import INSTALL, USE_GGUF, explained, quiet
from empathy_agent.errors import BackendUnavailable

_SERVED_LAYERS = frozenset({"full_attention", "sliding_attention", "chunked_attention", "dummy"})
"""Layers that keep keys and values of every token, or none; all others keep a running state."""

FACTS_KEY = "empathy_agent"
"""What models we train say of themselves in config.json: `{"languages": ["zh"], "demonstration": true}`."""

DeviceMap = str | Mapping[str, int | str]
Quantization = Literal["4bit", "8bit"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What to load and how; the fields are `TransformersBackend`'s arguments."""

    model: str
    device_map: DeviceMap | None = None
    dtype: str = "auto"
    quantization: Quantization | None = None
    adapters: Sequence[str] = ()
    revision: str | None = None
    local_files_only: bool = False
    attention: str | None = None


@dataclass(frozen=True)
class Loaded:
    """What was loaded."""

    network: Any
    tokenizer: Any
    config: Any
    """The configuration of the part that reads and writes text."""
    has_store: tuple[bool, ...]
    """For each layer whether it keeps keys and values of its own."""
    context: int
    """Tokens that the model was trained for."""
    ends: frozenset[int]
    """The tokens with which the model ends its turn."""
    is_demonstration: bool
    """The model says of itself that it only demonstrates."""
    languages: tuple[str, ...] | None
    """The languages that the model says it was made for."""


def require_packages() -> None:
    """Raise `BackendUnavailable` unless the libraries are there."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library is imported
    for package in ("torch", "transformers", "accelerate", "jinja2"):
        if not _is_installed(package):
            raise BackendUnavailable(f"{package!r} is not installed; {INSTALL}")


def load(source: Source) -> Loaded:
    """Load the model, its tokenizer and its adapters.

    Raises:
        BackendUnavailable: With the reason in words.
    """
    _check_source(source)
    with quiet():
        name = f"the model {source.model!r}"
        config = explained(name, lambda: _load_config(source))
        text = config.get_text_config(decoder=True)
        has_store = _check_layers(source.model, config, text)
        tokenizer = explained(f"the tokenizer of {source.model!r}", lambda: _load_tokenizer(source))
        network = explained(name, lambda: _load_network(source, config))
        for index, adapter in enumerate(source.adapters):
            adapt = partial(_adapt, network, adapter, index, source)
            network = explained(f"the adapter {adapter!r}", adapt)
    facts = getattr(config, FACTS_KEY, None)
    facts = facts if isinstance(facts, dict) else {}
    return Loaded(
        network=network.eval(),
        tokenizer=tokenizer,
        config=text,
        has_store=has_store,
        context=int(getattr(text, "max_position_embeddings", None) or 2**20),
        ends=_ends(network, tokenizer, text),
        is_demonstration=facts.get("demonstration") is True,
        languages=tuple(map(str, facts.get("languages") or ())) or None,
    )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # set to None in sys.modules
        return False


def _check_source(source: Source) -> None:
    if source.quantization is not None and not _is_installed("bitsandbytes"):
        raise BackendUnavailable(
            f"quantization={source.quantization!r} needs bitsandbytes: pip install bitsandbytes"
        )
    if source.adapters and not _is_installed("peft"):
        raise BackendUnavailable(f"adapters need 'peft', which is not installed; {INSTALL}")
    _check_folder("model", source.model, "config.json")
    for adapter in source.adapters:
        _check_folder("adapter", adapter, "adapter_config.json")


def _check_folder(what: str, name: str, file: str) -> None:
    """Refuse what is neither a folder with that file nor the name of a repository."""
    path = Path(name)
    if path.is_file():
        raise BackendUnavailable(f"the {what} {name!r} is a file; name the folder that it is in")
    if path.is_dir():
        if not (path / file).is_file():
            raise BackendUnavailable(f"the {what} folder {name!r} has no {file!r}")
    elif path.is_absolute() or name.startswith(".") or len(path.parts) > 2:
        raise BackendUnavailable(f"there is no {what} folder at {name!r}")


def _load_config(source: Source) -> Any:  # noqa: ANN401
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source.model, **_where(source))


def _load_tokenizer(source: Source) -> Any:  # noqa: ANN401
    from transformers import AutoTokenizer

    load: Any = AutoTokenizer.from_pretrained
    return load(source.model, **_where(source))


def _load_network(source: Source, config: Any) -> Any:  # noqa: ANN401
    import torch
    from transformers import AutoModelForCausalLM

    load: Any = AutoModelForCausalLM.from_pretrained
    options = _where(source)
    device = source.device_map
    if device is None and torch.accelerator.is_available():
        device = str(torch.accelerator.current_accelerator())
    if device is not None:
        options["device_map"] = device
    dtype: Any = source.dtype if source.dtype == "auto" else getattr(torch, source.dtype)
    if dtype == "auto" and device in (None, "cpu") and config.dtype == torch.float16:
        dtype = torch.float32  # CPUs compute half precision slowly, and no better than it is
    if source.quantization is not None:
        options["quantization_config"] = _quantization(source.quantization)
        # It logs a line for every matrix product, also after loading.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if source.attention is not None:
        options["attn_implementation"] = source.attention
    network, report = load(
        source.model, config=config, dtype=dtype, output_loading_info=True, **options
    )
    if report["missing_keys"]:
        raise BackendUnavailable(
            f"{source.model!r} lacks {len(report['missing_keys'])} tensors of a model that "
            "continues text; it is of another kind, or its files are incomplete"
        )
    return network


def _quantization(kind: Quantization) -> Any:  # noqa: ANN401
    import torch
    from transformers import BitsAndBytesConfig

    build: Any = BitsAndBytesConfig
    if kind == "8bit":
        return build(load_in_8bit=True)
    return build(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )


def _adapt(network: Any, adapter: str, index: int, source: Source) -> Any:  # noqa: ANN401
    """Add an adapter: into the weights, or beside them where they are quantised."""
    from peft import PeftModel

    if source.quantization is None:
        # Merging leaves no trace but the weights, so the next adapter finds a plain model.
        merged: Any = PeftModel.from_pretrained(network, adapter)
        return merged.merge_and_unload()
    if not index:
        return PeftModel.from_pretrained(network, adapter, adapter_name="0")
    network.load_adapter(adapter, adapter_name=str(index))
    network.base_model.set_adapter([str(one) for one in range(index + 1)])
    return network


def _where(source: Source) -> dict[str, Any]:
    return {
        "revision": source.revision or "main",
        "local_files_only": source.local_files_only,
        "trust_remote_code": False,
    }


def _check_layers(name: str, config: Any, text: Any) -> tuple[bool, ...]:  # noqa: ANN401
    from transformers import cache_utils

    if config.is_encoder_decoder:
        raise BackendUnavailable(f"{name!r} translates text instead of continuing it; {USE_GGUF}")
    classify: Any = cache_utils.get_layer_types_and_kwargs
    kinds, _ = classify(text)
    if not _SERVED_LAYERS.issuperset(kinds):
        raise BackendUnavailable(
            f"{name!r} is no plain attention model: it keeps a state that cannot be set back or "
            f"shared; {USE_GGUF}"
        )
    return tuple(kind != "dummy" for kind in kinds)


def _ends(network: Any, tokenizer: Any, config: Any) -> frozenset[int]:  # noqa: ANN401
    generation = getattr(network, "generation_config", None)
    ends: set[int] = set()
    for one in (
        getattr(generation, "eos_token_id", None),
        getattr(config, "eos_token_id", None),
        tokenizer.eos_token_id,
    ):
        ends.update(one if isinstance(one, list) else () if one is None else (one,))
    return frozenset(ends)
