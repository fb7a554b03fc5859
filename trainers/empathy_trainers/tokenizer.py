"""The tokenizer of the embedded model: byte-level BPE with Qwen2's pre-tokenizer and the tags as special tokens.

Qwen2's split pattern is one that GGUF can name (`tokenizer.ggml.pre = "qwen2"`), so llama.cpp and transformers cut a
text alike. There is no normaliser, because llama.cpp has none: ids must agree on any text. The chat template is
ChatML without a default system prompt.

Source: pattern and byte-level set-up as in the Qwen2 tokenizer, https://huggingface.co/Qwen/Qwen2-0.5B
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from empathy_agent.errors import ConfigError
from empathy_agent.segments import ALL_TAGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

QWEN2_PATTERN = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Return the id of one token of the vocabulary.

    Raises:
        ConfigError: The vocabulary does not hold it.
    """
    found = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(found, int) or found == tokenizer.unk_token_id:
        raise ConfigError(f"the tokenizer lacks {token!r}; train it with this recipe")
    return found


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer saved in `folder`."""
    from transformers import PreTrainedTokenizerFast

    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(str(folder))
    return tokenizer


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, out_dir: Path
) -> PreTrainedTokenizerFast:
    """Train a tokenizer on `texts` and save it to `out_dir` with its chat template.

    Args:
        texts: Training text, consumed once.
        vocab_size: Number of ids, the special tokens included.
        out_dir: A folder that `AutoTokenizer.from_pretrained` can read afterwards.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    specials = [END_OF_TEXT, TURN_START, TURN_END, *ALL_TAGS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer=trainer)
    # transformers leaves its constructor untyped.
    build: Callable[..., PreTrainedTokenizerFast] = PreTrainedTokenizerFast
    tokenizer = build(
        tokenizer_object=core,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[s for s in specials if s not in (END_OF_TEXT, TURN_END)],
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(str(out_dir))
    return tokenizer
