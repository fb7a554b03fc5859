"""A tokenizer.json in GGUF's terms: tokens, their kinds, merges, the split pattern's name.

llama.cpp knows a split pattern by name only, so the pattern is recognised here, letter by letter,
and one that we do not know is an error: a near miss would cut some texts otherwise and nobody would
notice. Special tokens become CONTROL, which text can never spell where specials are off. llama.cpp
has no normaliser: NFC, which Qwen's own tokenizers have, is let through, because real posts are NFC
already; `verify` measures whether ids agree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf

from empathy_agent.errors import ConfigError
from empathy_trainers.tokenizer import QWEN2_PATTERN

LLAMA3_PATTERN: Final = QWEN2_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
"""Source: tokenizer.json of https://huggingface.co/meta-llama/Meta-Llama-3-8B."""


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """A split pattern that llama.cpp knows."""

    name: str
    """Value of `tokenizer.ggml.pre`."""
    ignores_merges: bool
    """Whether llama.cpp takes a whole word that is a token without merging it."""


PRE_TOKENIZERS: Final = {
    QWEN2_PATTERN: PreTokenizer("qwen2", ignores_merges=False),
    LLAMA3_PATTERN: PreTokenizer("llama-bpe", ignores_merges=True),
}


def add_vocabulary(writer: gguf.GGUFWriter, folder: Path, rows: int) -> None:
    """Write the tokenizer and the chat template of `folder`.

    Args:
        writer: The file in the making.
        folder: The Hugging Face folder.
        rows: Rows of the embedding; rows without a token become UNUSED `[PADn]`.

    Raises:
        ConfigError: llama.cpp would tokenise otherwise, or there are more tokens than rows.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ConfigError(f"{str(folder)!r} has no 'tokenizer.json'; save the tokenizer there too")
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    pre = recognise_pre_tokenizer(tokenizer)
    tokens, kinds = _tokens(tokenizer, rows)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre.name)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    special = gguf.SpecialVocab(folder, load_merges=True, n_vocab=rows)
    if "eos" not in special.special_token_ids:
        raise ConfigError("the tokenizer names no eos token; llama.cpp would take a wrong one")
    # llama.cpp's defaults depend on the pattern's name; what the tokenizer does not add stays off.
    for kind in ("bos", "eos"):
        special.add_special_token.setdefault(kind, False)
    special.add_to_gguf(writer, quiet=True)


def recognise_pre_tokenizer(tokenizer: dict[str, Any]) -> PreTokenizer:
    """Return the pre-tokenizer of a parsed tokenizer.json.

    Raises:
        ConfigError: llama.cpp has no name for it, or another part of it differs from llama.cpp's.
    """
    model = tokenizer["model"]
    if model["type"] != "BPE":
        raise ConfigError(f"a {model['type']!r} tokenizer cannot be exported; only BPE can")
    normalizer = tokenizer.get("normalizer")
    if normalizer is not None and normalizer["type"] != "NFC":
        raise ConfigError(f"llama.cpp has no normaliser {normalizer['type']!r}; train without one")
    part = tokenizer.get("pre_tokenizer") or {}
    parts = part.get("pretokenizers", [part])
    patterns = [one["pattern"].get("Regex") for one in parts if one.get("type") == "Split"]
    if len(patterns) != 1 or patterns[0] not in PRE_TOKENIZERS or not _is_byte_level(parts):
        known = " or ".join(repr(one.name) for one in PRE_TOKENIZERS.values())
        raise ConfigError(
            "the tokenizer's split pattern is none that GGUF can name; train one with "
            f"`train_tokenizer`, or use a model whose pattern is {known}"
        )
    pre = PRE_TOKENIZERS[patterns[0]]
    if bool(model.get("ignore_merges")) is not pre.ignores_merges:
        raise ConfigError(
            f"tokenizer.json must set ignore_merges to {str(pre.ignores_merges).lower()}: "
            f"llama.cpp does so for {pre.name!r}"
        )
    return pre


def _is_byte_level(parts: list[dict[str, Any]]) -> bool:
    split, rest = parts[0], parts[1:]
    return (
        split.get("behavior") == "Isolated"
        and not split.get("invert")
        and [one["type"] for one in rest] == ["ByteLevel"]
        and not rest[0].get("use_regex", True)
        and not rest[0].get("add_prefix_space", True)
    )


def _tokens(tokenizer: dict[str, Any], rows: int) -> tuple[list[str], list[int]]:
    added = {one["id"]: one for one in tokenizer.get("added_tokens", ())}
    texts: dict[int, str] = {number: text for text, number in tokenizer["model"]["vocab"].items()}
    texts.update({number: one["content"] for number, one in added.items()})
    if max(texts) >= rows:
        raise ConfigError(
            f"the tokenizer has ids up to {max(texts)}, but the embedding has only {rows} rows; "
            "resize the embedding and train it"
        )
    tokens = [texts.get(number, f"[PAD{number}]") for number in range(rows)]
    kinds = []
    for number in range(rows):
        if number in added:
            is_special = added[number]["special"]
            kind = gguf.TokenType.CONTROL if is_special else gguf.TokenType.USER_DEFINED
        else:
            kind = gguf.TokenType.NORMAL if number in texts else gguf.TokenType.UNUSED
        kinds.append(int(kind))
    return tokens, kinds
