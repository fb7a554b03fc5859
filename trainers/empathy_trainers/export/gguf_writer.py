"""Write a GGUF from a Hugging Face folder; llama.cpp itself quantises.

Tensor names come from the `gguf` library's own maps; a tensor without a name there is an error.
f32 and f16 are written here (vectors stay f32, as llama.cpp wants them); anything smaller is made
by `llama_model_quantize` from the f32 file. The result appears under its name only when it is
whole, with its SHA-256 beside it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import gguf
import numpy as np

from empathy_agent.backends.llama_cpp.backend import (
    DEMONSTRATION_KEY,
    LANGUAGES_KEY,
    physical_cores,
)
from empathy_agent.backends.llama_cpp.library import load_library, take_errors
from empathy_agent.errors import BackendError, ConfigError
from empathy_trainers.export.checkpoint import Checkpoint, FloatArray, Geometry
from empathy_trainers.export.vocabulary import add_vocabulary

Quantization = Literal["f32", "f16", "q8_0"]
EMBEDDING: Final = "model.embed_tokens.weight"
_PLAIN: Final = {
    "f32": (gguf.LlamaFileType.ALL_F32, np.float32),
    "f16": (gguf.LlamaFileType.MOSTLY_F16, np.float16),
}
_QUANTISED: Final = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}
"""Types that llama.cpp makes; a new one is one line here and in `Quantization`."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor on its way into the file."""

    source: str
    target: str
    shape: tuple[int, ...]
    rotary_heads: int | None = None
    """Heads whose rows are reordered for llama.cpp's interleaved rotary embedding."""


def export_gguf(
    model_dir: Path,
    out: Path,
    *,
    quantization: Quantization,
    languages: Sequence[str],
    name: str,
    licence: str,
    description: str | None = None,
    demonstration: bool = False,
    threads: int | None = None,
) -> Path:
    """Write `out` and `out` + `.sha256`, and return `out`.

    Args:
        model_dir: Folder with config.json, safetensors, tokenizer.json and the chat template.
        out: The file to write, `*.gguf`; an older one is replaced only by a whole new one.
        quantization: Type of the matrices.
        languages: ISO 639-1 codes of the languages that the model speaks.
        name: What the model calls itself in replies (`general.name`).
        licence: SPDX expression of the weights (`general.license`).
        description: One sentence for `general.description`.
        demonstration: Whether the file says of itself that nobody at risk is to be answered by it.
        threads: Threads that quantise; None takes the physical cores of this process.

    Raises:
        ConfigError: The folder cannot be exported exactly; the message says why.
        BackendError: llama.cpp did not quantise.
    """
    if out.suffix != ".gguf" or not languages:
        raise ConfigError("the export needs a name that ends in '.gguf' and at least one language")
    if quantization not in _PLAIN and quantization not in _QUANTISED:
        known = ", ".join((*_PLAIN, *_QUANTISED))
        raise ConfigError(f"quantization {quantization!r} is unknown; use one of {known}")
    checkpoint = Checkpoint(model_dir)
    general = {"name": name, "license": licence, "description": description}
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside `out`, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        made = Path(folder) / out.name
        plain: Literal["f32", "f16"] = "f16" if quantization == "f16" else "f32"
        with _quiet_gguf():
            _write_plain(checkpoint, made, plain, general, languages, demonstration)
        if quantization in _QUANTISED:
            source = made.rename(made.with_suffix(".source"))
            quantise(source, made, _QUANTISED[quantization], threads or physical_cores())
        digest = Path(folder) / f"{out.name}.sha256"
        digest.write_text(f"{sha256_of(made)}  {out.name}\n", encoding="utf-8")
        made.replace(out)
        digest.replace(out.with_name(digest.name))
    return out


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_sha256(path: Path) -> bool:
    """Return whether `path` is what the `.sha256` file beside it says."""
    beside = path.with_name(f"{path.name}.sha256")
    return beside.is_file() and beside.read_text(encoding="utf-8").split()[0] == sha256_of(path)


def quantise(source: Path, out: Path, kind: gguf.LlamaFileType, threads: int) -> None:
    """Let llama.cpp quantise `source` into `out`.

    Raises:
        BackendUnavailable: llama-cpp-python is missing.
        BackendError: llama.cpp refused the file.
    """
    library = load_library()
    params = library.llama_model_quantize_default_params()
    params.ftype = int(kind)
    params.nthread = threads
    take_errors()
    if library.llama_model_quantize(os.fsencode(source), os.fsencode(out), params) != 0:
        take_errors()
        raise BackendError(f"llama.cpp could not quantise to {kind.name}; is the disk full?")


def interleave_rotary(array: FloatArray, heads: int) -> FloatArray:
    """Reorder the rows of a query or key projection for llama.cpp's `llama` architecture.

    transformers rotates the first half of a head against the second, llama.cpp rotates neighbours.
    Shape `(heads * head_dim, ...)` in and out.

    Source: `LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py.
    """
    rows = array.shape[0]
    split = array.reshape(heads, 2, rows // heads // 2, *array.shape[1:])
    return split.swapaxes(1, 2).reshape(array.shape)


def _write_plain(
    checkpoint: Checkpoint,
    out: Path,
    kind: Literal["f32", "f16"],
    general: dict[str, str | None],
    languages: Sequence[str],
    demonstration: bool,
) -> None:
    geometry = checkpoint.geometry
    writer = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[geometry.arch])
    try:
        file_type, dtype = _PLAIN[kind]
        writer.add_type(gguf.GGUFType.MODEL)
        for key, value in general.items():
            if value:
                writer.add_string(f"general.{key}", value)
        writer.add_languages(list(languages))
        # The array above is the standard; llama.cpp hands out scalars only.
        writer.add_string(LANGUAGES_KEY, ",".join(languages))
        if demonstration:
            writer.add_string(DEMONSTRATION_KEY, "true")
        writer.add_file_type(int(file_type))
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_geometry(writer, geometry)
        plan = _plan(checkpoint)
        rows = next((one.shape[0] for one in plan if one.source == EMBEDDING), None)
        if rows is None:
            raise ConfigError(f"{str(checkpoint.folder)!r} has no tensor {EMBEDDING!r}")
        writer.add_vocab_size(rows)
        add_vocabulary(writer, checkpoint.folder, rows)
        _add_tensors(writer, checkpoint, plan, np.dtype(dtype))
    finally:
        writer.close()


def _add_geometry(writer: gguf.GGUFWriter, geometry: Geometry) -> None:
    writer.add_context_length(geometry.context)
    writer.add_embedding_length(geometry.hidden_size)
    writer.add_block_count(geometry.layers)
    writer.add_feed_forward_length(geometry.intermediate_size)
    writer.add_head_count(geometry.heads)
    writer.add_head_count_kv(geometry.kv_heads)
    writer.add_key_length(geometry.head_dim)
    writer.add_value_length(geometry.head_dim)
    writer.add_rope_dimension_count(geometry.head_dim)
    writer.add_rope_freq_base(geometry.rope_theta)
    writer.add_layer_norm_rms_eps(geometry.rms_eps)


def _plan(checkpoint: Checkpoint) -> list[_Tensor]:
    geometry = checkpoint.geometry
    names = gguf.get_tensor_name_map(geometry.arch, geometry.layers)
    plan = []
    for source in checkpoint.names:
        target = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ConfigError(f"tensor {source!r} has no name in GGUF; is config.json its own?")
        heads = None
        if geometry.arch is gguf.MODEL_ARCH.LLAMA:
            if ".q_proj." in source:
                heads = geometry.heads
            elif ".k_proj." in source:
                heads = geometry.kv_heads
        plan.append(_Tensor(source, target, checkpoint.shape(source), heads))
    return plan


def _add_tensors(
    writer: gguf.GGUFWriter,
    checkpoint: Checkpoint,
    plan: list[_Tensor],
    matrix: np.dtype[np.generic],
) -> None:
    single = np.dtype(np.float32)
    factors = checkpoint.geometry.rope_factors
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", [len(factors)], single, 4 * len(factors))
    for one in plan:
        dtype = matrix if len(one.shape) > 1 else single
        size = int(np.prod(one.shape)) * dtype.itemsize
        writer.add_tensor_info(one.target, one.shape, dtype, size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(np.asarray(factors, dtype=single))
    for one in plan:
        array = checkpoint.load(one.source)
        if one.rotary_heads is not None:
            array = interleave_rotary(array, one.rotary_heads)
        dtype = matrix if len(one.shape) > 1 else single
        if dtype == np.float16 and np.abs(array).max() > np.finfo(np.float16).max:
            raise ConfigError(f"tensor {one.source!r} does not fit f16; export f32 or q8_0")
        writer.write_tensor_data(np.ascontiguousarray(array, dtype=dtype))


@contextmanager
def _quiet_gguf() -> Iterator[None]:
    logger = logging.getLogger("gguf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
