"""Write a GGUF with random weights: a model of any size whose speed and contracts are real.

What it says means nothing, but it loads, tokenises, samples and caches like any Qwen3 model, so the
conformance kit and the bench need no download. The tokenizer is byte-level BPE with Qwen2's
pre-tokenizer: the 256 bytes, a few merges (`。</` on purpose: a token across the border of a tag),
fillers up to the size asked for, and the special tokens. Needs the `gguf` package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from numpy.typing import NDArray

from empathy_agent.segments import ALL_TAGS

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, the shape of Qwen's own template."""

_WORDS: tuple[str, ...] = (
    *(
        "。</",
        "</",
        "。",
        "，",
        "「",
        "」",
        "\n\n",
        " the",
        " you",
        " and",
        "ing",
        " feel",
        " that",
    ),
    *("我", "你", "他", "她", "的", "了", "是", "不", "很", "在", "有", "好", "难过"),
)
_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class Shape:
    """The size of a Qwen3 model."""

    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    ffn: int = 128
    vocabulary: int = 400
    context: int = 2048


QWEN3_0_6B = Shape(1024, 28, 16, 8, 128, 3072, 32_000, 4096)
"""Qwen3-0.6B but for its vocabulary, which is 32,000 here instead of 151,936."""


def write_random_gguf(
    path: Path,
    shape: Shape = Shape(),
    *,
    weights: Literal["f32", "f16", "q8_0"] = "f32",
    has_tags: bool = True,
    chat_template: str | None = CHAT_TEMPLATE,
    seed: int = 0,
) -> Path:
    """Write the model to `path` and return `path`.

    Args:
        path: The file to write.
        shape: How large the model is.
        weights: The type of all matrices.
        has_tags: Whether the transcript's tags are CONTROL tokens.
        chat_template: The Jinja template in the file, None for none.
        seed: Of the weights; the same arguments give the same file.
    """
    partial = path.with_suffix(".part")
    writer = gguf.GGUFWriter(partial, "qwen3")
    writer.add_name(path.stem)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    _add_tokenizer(writer, shape.vocabulary, has_tags)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    _add_tensors(writer, shape, weights, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return partial.replace(path)


def _add_tokenizer(writer: gguf.GGUFWriter, size: int, has_tags: bool) -> None:
    letters = _byte_letters()
    tokens, merges = list(letters), []
    for word in _WORDS:
        spelled = [letters[byte] for byte in word.encode()]
        for count in range(1, len(spelled)):
            merged = "".join(spelled[: count + 1])
            if merged not in tokens:
                merges.append(f"{''.join(spelled[:count])} {spelled[count]}")
                tokens.append(merged)
    specials = (*_SPECIALS, *(ALL_TAGS if has_tags else ()))
    fillers = size - len(tokens) - len(specials)
    if fillers < 0:
        raise ValueError(f"the vocabulary needs at least {size - fillers} tokens")
    tokens += [f"{letters[0x20]}w{index}" for index in range(fillers)]
    kinds = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(specials)
    tokens += specials
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)


def _add_tensors(
    writer: gguf.GGUFWriter, shape: Shape, weights: str, random: np.random.Generator
) -> None:
    query, pairs = shape.heads * shape.head_size, shape.kv_heads * shape.head_size

    def matrix(name: str, rows: int, columns: int) -> None:
        _add_matrix(writer, f"{name}.weight", rows, columns, weights, random)

    def norm(name: str, size: int) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(size, dtype=np.float32))

    matrix("token_embd", shape.vocabulary, shape.hidden)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm", shape.hidden)
        matrix(f"{block}.attn_q", query, shape.hidden)
        matrix(f"{block}.attn_k", pairs, shape.hidden)
        matrix(f"{block}.attn_v", pairs, shape.hidden)
        matrix(f"{block}.attn_output", shape.hidden, query)
        norm(f"{block}.attn_q_norm", shape.head_size)
        norm(f"{block}.attn_k_norm", shape.head_size)
        norm(f"{block}.ffn_norm", shape.hidden)
        matrix(f"{block}.ffn_gate", shape.ffn, shape.hidden)
        matrix(f"{block}.ffn_up", shape.ffn, shape.hidden)
        matrix(f"{block}.ffn_down", shape.hidden, shape.ffn)
    norm("output_norm", shape.hidden)
    # Not tied to the embedding: a random tied model only repeats its last token.
    matrix("output", shape.vocabulary, shape.hidden)


def _add_matrix(
    writer: gguf.GGUFWriter,
    name: str,
    rows: int,
    columns: int,
    weights: str,
    random: np.random.Generator,
) -> None:
    spread = columns**-0.5
    if weights == "q8_0":
        # Random blocks as they lie in the file: a half-precision scale, then 32 signed bytes.
        blocks = random.integers(0, 256, (rows, columns // 32, 34), dtype=np.uint8)
        scale = np.array([spread / 73.9], dtype=np.float16)  # 73.9: deviation of a uniform byte
        blocks[:, :, :2] = scale.view(np.uint8)
        data: NDArray[np.generic] = blocks.reshape(rows, -1)
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        return
    values = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(spread)
    writer.add_tensor(name, values.astype(np.float16 if weights == "f16" else np.float32))


def _byte_letters() -> list[str]:
    """Return the printable letter of each byte.

    Source: `bytes_to_unicode` of GPT-2's `encoder.py`.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
