"""Write a model folder with random weights: safetensors and a tokenizer, as transformers reads them.

The counterpart of `random_gguf` for the transformers backend: what it says means nothing, but it
loads, tokenises, samples and caches like any model of its family. The tokenizer is byte-level BPE
with Qwen2's pre-tokenizer, which GGUF can name, so a Qwen3 folder can be exported too. Needs the
`transformers` extra.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from empathy_agent.segments import ALL_TAGS

Family = Literal["qwen3", "llama", "mistral", "gemma3_text"]

WINDOW = 24
"""Tokens that the sliding layers of `mistral` and `gemma3_text` see."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, the shape of Qwen's own template."""

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Source: tokenizer.json of https://huggingface.co/Qwen/Qwen2-0.5B"""
_TEXTS = ("我很难过。你的他不是了", "I feel that you are sad and the rest of it is nothing to me")
_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def write_random_checkpoint(
    folder: Path,
    family: Family = "qwen3",
    *,
    has_tags: bool = True,
    chat_template: str | None = CHAT_TEMPLATE,
    context: int = 2048,
    seed: int = 0,
) -> Path:
    """Write the model into `folder` and return `folder`.

    Args:
        folder: Where to; made if it is not there.
        family: The architecture.
        has_tags: Whether the transcript's tags are special tokens.
        chat_template: The Jinja template of the tokenizer, None for none.
        context: Tokens that the model says it was trained for.
        seed: Of the weights; the same arguments give the same folder.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    size, end = _write_tokenizer(folder, has_tags, chat_template)
    for_model: Any = AutoConfig.for_model
    config = for_model(
        family,
        vocab_size=size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=128,
        max_position_embeddings=context,
        sliding_window=None if family in ("qwen3", "llama") else WINDOW,
        layer_types=["sliding_attention", "full_attention"] if family == "gemma3_text" else None,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build: Any = AutoModelForCausalLM.from_config
        network = build(config)
    network.save_pretrained(folder)
    return folder


def _write_tokenizer(folder: Path, has_tags: bool, chat_template: str | None) -> tuple[int, int]:
    """Write the tokenizer; return how many tokens there are, and which one ends a turn."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    specials = [*_SPECIALS, *(ALL_TAGS if has_tags else ())]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_TEXTS, trainer=trainer)
    build: Any = PreTrainedTokenizerFast
    tokenizer = build(
        tokenizer_object=core,
        eos_token=_SPECIALS[2],
        pad_token=_SPECIALS[0],
        additional_special_tokens=[_SPECIALS[1], *specials[3:]],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(str(folder))
    end = core.token_to_id(_SPECIALS[2])
    assert end is not None
    return core.get_vocab_size(), end
