"""A Hugging Face model folder, as the GGUF writer needs it: its geometry and its tensors.

Only what llama.cpp computes exactly as transformers does is let through: a setting that would
change the numbers (another activation, a sliding window, an unknown rotary scaling) is a
`ConfigError`, never a silently different model. Tensors are read one at a time, so that a large
model is never whole in memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import numpy.typing as npt

from empathy_agent.errors import ConfigError

FloatArray = npt.NDArray[np.float32]

ARCHITECTURES: Final = {
    "Qwen3ForCausalLM": gguf.MODEL_ARCH.QWEN3,
    "Qwen2ForCausalLM": gguf.MODEL_ARCH.QWEN2,
    "LlamaForCausalLM": gguf.MODEL_ARCH.LLAMA,
}
"""What can be exported: class name in `config.json` -> GGUF architecture."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The numbers of a model that llama.cpp reads from the file's metadata."""

    arch: gguf.MODEL_ARCH
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    """Positions the rotary embedding is declared for."""
    rms_eps: float
    rope_theta: float
    rope_factors: tuple[float, ...] | None
    """Divisors of the rotary frequencies, `(head_dim / 2,)`, of Llama 3.1's scaling."""
    is_tied: bool
    """Whether the output matrix is the embedding."""


class Checkpoint:
    """A folder with `config.json` and safetensors.

    Args:
        folder: The folder that `save_pretrained` wrote.

    Raises:
        ConfigError: The folder is incomplete, or its architecture cannot be exported.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.geometry = _read_geometry(folder)
        self._files = _tensor_files(folder)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors to export, sorted; a tied output matrix is left out."""
        dropped = {"lm_head.weight"} if self.geometry.is_tied else set[str]()
        names = sorted(name for name in self._files if not name.endswith("rotary_emb.inv_freq"))
        if not self.geometry.is_tied and "lm_head.weight" not in self._files:
            raise ConfigError(
                f"{str(self.folder)!r} has no 'lm_head.weight', but config.json says that the "
                "embeddings are not tied; save the model again"
            )
        return tuple(name for name in names if name not in dropped)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it."""
        with self._open(name) as file:
            return tuple(file.get_slice(name).get_shape())

    def load(self, name: str) -> FloatArray:
        """Return a tensor in single precision.

        Raises:
            ConfigError: It is not of a floating type, or holds NaN or infinity.
        """
        import torch

        with self._open(name) as file:
            tensor = file.get_tensor(name)
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ConfigError(f"tensor {name!r} is {tensor.dtype}; only float weights are exported")
        array: FloatArray = tensor.to(torch.float32).numpy()
        if not np.isfinite(array).all():
            raise ConfigError(f"tensor {name!r} holds NaN or infinity; the training run diverged")
        return array

    def _open(self, name: str) -> Any:  # noqa: ANN401
        from safetensors import safe_open

        return safe_open(self._files[name], framework="pt")


def _tensor_files(folder: Path) -> dict[str, Path]:
    from safetensors import safe_open

    index = folder / "model.safetensors.index.json"
    if index.is_file():
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {name: folder / file for name, file in table.items()}
    else:
        single = folder / "model.safetensors"
        if not single.is_file():
            raise ConfigError(f"{str(folder)!r} has no 'model.safetensors'; save the model there")
        with safe_open(single, framework="pt") as opened:
            files = dict.fromkeys(opened.keys(), single)
    missing = sorted({path.name for path in files.values() if not path.is_file()})
    if missing:
        raise ConfigError(f"{str(folder)!r} lacks {missing[0]!r}, which its index names")
    return files


def _read_geometry(folder: Path) -> Geometry:
    from transformers import AutoConfig

    path = folder / "config.json"
    if not path.is_file():
        raise ConfigError(f"{str(folder)!r} has no 'config.json'; give a folder of save_pretrained")
    named = json.loads(path.read_text(encoding="utf-8")).get("architectures") or ["none"]
    if named[0] not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ConfigError(f"architecture {named[0]!r} cannot be exported to GGUF; use {known}")
    config: Any = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    arch = ARCHITECTURES[named[0]]
    _refuse_what_would_differ(config, arch)
    heads = config.num_attention_heads
    rope = config.rope_parameters
    return Geometry(
        arch=arch,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        context=config.max_position_embeddings,
        rms_eps=config.rms_norm_eps,
        rope_theta=rope["rope_theta"],
        rope_factors=_rope_factors(config) if rope["rope_type"] == "llama3" else None,
        is_tied=bool(config.tie_word_embeddings),
    )


def _refuse_what_would_differ(config: Any, arch: gguf.MODEL_ARCH) -> None:  # noqa: ANN401
    if config.hidden_act != "silu":
        raise ConfigError(f"hidden_act {config.hidden_act!r} cannot be exported; only 'silu' can")
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise ConfigError("sliding window attention cannot be exported; set use_sliding_window off")
    if arch is gguf.MODEL_ARCH.QWEN3 and config.attention_bias:
        raise ConfigError("llama.cpp's qwen3 has no attention biases; set attention_bias off")
    scalings = {"default", "llama3"} if arch is gguf.MODEL_ARCH.LLAMA else {"default"}
    kind = config.rope_parameters["rope_type"]
    if kind not in scalings:
        raise ConfigError(f"rope scaling {kind!r} cannot be exported; only {sorted(scalings)} can")


def _rope_factors(config: Any) -> tuple[float, ...]:  # noqa: ANN401
    """Return by how much Llama 3.1's scaling slows each rotary frequency.

    Source: `generate_extra_tensors` of LlamaModel in llama.cpp's convert_hf_to_gguf.py; the
    frequencies themselves are transformers' own.
    """
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    steps = np.arange(0, head_dim, 2, dtype=np.float32) / head_dim
    plain = 1.0 / config.rope_parameters["rope_theta"] ** steps
    return tuple(float(factor) for factor in plain / scaled.numpy())
