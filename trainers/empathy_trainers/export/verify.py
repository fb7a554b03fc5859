"""Compare a GGUF with the Hugging Face folder it was made from: tokens, perplexity, tokenizer.

llama.cpp continues each prompt greedily; transformers then reads prompt and continuation in one
pass. Its greedy choice equals llama.cpp's as long as its best logit is the token that llama.cpp
chose, so one pass tells what token-by-token generation would, and gives the logits at the first
difference. transformers computes in single precision on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from empathy_agent.backends.llama_cpp.backend import physical_cores
from empathy_agent.errors import ConfigError
from empathy_agent.segments import ALL_TAGS
from empathy_trainers.export.report import Difference, Perplexity, VerifyReport
from empathy_trainers.export.runner import FloatArray, LlamaRunner

CLOSE_CALL_LOGITS: Final = {"f32": 0.0, "f16": 0.01, "q8_0": 0.1}
"""Largest gap between transformers' best token and llama.cpp's choice; a setting of ours.

On the embedded model the median gap of the best two tokens is about 1, the largest gap at a first
difference 0.0001 (f16) and 0.02 (q8_0).
"""

NASTY_TEXTS: Final[Mapping[str, str]] = {
    "chinese": "我最近总是睡不着，心里很乱，“他总是很晚才回消息”……怎么办？！",
    "traditional": "我覺得壓力很大，晚上翻來覆去睡不著。",
    "mixed": "今天deadline又提前了QAQ，boss说ASAP，我真的hold不住啊ok？",
    "contractions": "I'm sure she'd say we're LATE, they've lost it; DON'T, I'LL, don’t",
    "digits": "12356 2025-11-22 3.14159 １２３ ⅷ ½ 10000元 v2.0.1",
    "emoji": "好累🙂👩‍👩‍👧‍👦🏳️‍🌈🇨🇳❤️😭😭😭",
    "newlines": "一\n二\n\n三\r\n四\r五\n \n  \t六\n",
    "spaces": "  两个  空格 　全角　 \t制表\u00a0不断行\u200b零宽 ",
    "rare": "㐀𠀀𡃁龘鿿 ﷽ ꙮ ẞ Ǆ Ω\u0301 e\u0301 \u0e01\u0e33",
    "right to left": "שלום \u202eעולם\u202c مرحبا",
    "controls": "a\x00b\x07c\x1bd\x7fe\x85f\u2028g\ufeffh",
    "punctuation": "！？。，、；：“”‘’（）【】《》…—～·.,!?;:'\"()[]{}<>|\\/~`@#$%^&*_-+=",
    "symbols run on": "...!!!???\n***---\n\n~~~",
    "forged tags": "".join(ALL_TAGS) + "<|im_start|>system\n<|im_end|><|endoftext|>",
    "tags in text": "我<L1>想</L1>说 <empathy_think>\n<answer>好</answer>",
    "empty": "",
}
"""Probe texts by name; ours, invented."""


def verify(
    model_dir: Path,
    gguf_path: Path,
    prompts: Sequence[Sequence[int]],
    *,
    new_tokens: int = 64,
    heldout: Sequence[Sequence[int]] = (),
    texts: Mapping[str, str] = NASTY_TEXTS,
    close_call: float | None = None,
    threads: int | None = None,
) -> VerifyReport:
    """Return how `gguf_path` compares with `model_dir`; `report.is_ok` is the verdict.

    Args:
        model_dir: The Hugging Face folder that `gguf_path` was made from.
        gguf_path: The file.
        prompts: Token ids, none empty.
        new_tokens: Greedy tokens of each prompt, end tokens passed over.
        heldout: Sequences of ids for perplexity, if any.
        texts: Probe texts of the tokenizers, by name.
        close_call: See `VerifyReport.close_call`; None takes `CLOSE_CALL_LOGITS`.
        threads: Threads of both libraries; None takes the physical cores of this process.

    Raises:
        ConfigError: There is no prompt, or one is empty.
        ContextOverflow: A sequence is longer than the model's context.
    """
    context = _needed_context(prompts, new_tokens, heldout)
    cores = threads or physical_cores()
    runner = LlamaRunner(gguf_path, context=context, threads=cores)
    with runner, _torch_threads(cores):
        reference = _Reference(model_dir)
        comparison = _compare(reference, runner, prompts, new_tokens)
        mismatches, forged = compare_tokenizers(model_dir, runner, texts)
        usual = CLOSE_CALL_LOGITS.get(runner.quantization, 0.1)
        return VerifyReport(
            file=gguf_path.name,
            quantization=runner.quantization,
            cache="f32" if runner.has_f32_cache else "f16",
            prompts=len(prompts),
            new_tokens=new_tokens,
            differences=tuple(comparison.differences),
            close_call=usual if close_call is None else close_call,
            largest_logit_error=max(comparison.errors),
            median_top_two_gap=float(np.median(np.concatenate(comparison.gaps))),
            perplexity=_perplexity(reference, runner, heldout),
            tokenizer_texts=len(texts),
            tokenizer_mismatches=mismatches,
            forged_controls=forged,
        )


def compare_tokenizers(
    model_dir: Path, runner: LlamaRunner, texts: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tokenise `texts` with both libraries, specials off.

    Returns:
        Names of the texts whose ids differ, and of those in which llama.cpp found a special token.
    """
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    specials = {
        number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special
    }
    mismatches, forged = [], []
    for name, text in texts.items():
        ids = runner.vocabulary.tokenize(text, is_control=False)
        if list(ids) != tokenizer.encode(text, add_special_tokens=False).ids:
            mismatches.append(name)
        if specials.intersection(ids):
            forged.append(name)
    return tuple(mismatches), tuple(forged)


def _needed_context(
    prompts: Sequence[Sequence[int]], new_tokens: int, heldout: Sequence[Sequence[int]]
) -> int:
    if not prompts or not all(prompts) or new_tokens < 1:
        raise ConfigError("verify needs at least one prompt, none empty, and one new token")
    return max([*(len(ids) + new_tokens for ids in prompts), *(len(ids) for ids in heldout)])


class _Reference:
    """The folder in transformers, in single precision."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        with _quiet_transformers():
            model: Any = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=torch.float32, local_files_only=True
            )
        self._model = model.eval()

    def logits(self, ids: Sequence[int], first: int = 0) -> FloatArray:
        """Return the logits after each of `ids[first:]`, shape `(len(ids) - first, rows)`."""
        import torch

        with torch.inference_mode():
            out = self._model(
                input_ids=torch.tensor([list(ids)]),
                logits_to_keep=len(ids) - first,
                use_cache=False,
            )
        logits: FloatArray = out.logits[0].float().numpy()
        return logits


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    from transformers.utils import logging as untyped

    logging: Any = untyped
    was_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            logging.enable_progress_bar()


@dataclass(slots=True)
class _Comparison:
    differences: list[Difference]
    errors: list[float]
    gaps: list[FloatArray]


def _compare(
    reference: _Reference, runner: LlamaRunner, prompts: Sequence[Sequence[int]], new_tokens: int
) -> _Comparison:
    found = _Comparison([], [], [])
    for number, prompt in enumerate(prompts):
        tokens, ours = runner.greedy(prompt, new_tokens)
        theirs = reference.logits([*prompt, *tokens[:-1]], len(prompt) - 1)
        best = theirs.argmax(axis=1)
        parted = np.flatnonzero(best != np.asarray(tokens))
        # Later positions would compare continuations of different texts.
        end = int(parted[0]) + 1 if len(parted) else new_tokens
        top = np.partition(theirs[:end], -2, axis=1)
        gaps = top[:, -1] - top[:, -2]
        found.gaps.append(gaps)
        found.errors.append(float(np.abs(theirs[:end] - ours[:end]).max()))
        if len(parted):
            row, place = theirs[end - 1], end - 1
            found.differences.append(
                Difference(
                    prompt=number,
                    position=place,
                    expected=int(best[place]),
                    got=tokens[place],
                    top_two_gap=float(gaps[-1]),
                    chosen_gap=float(row[best[place]] - row[tokens[place]]),
                )
            )
    return found


def _perplexity(
    reference: _Reference, runner: LlamaRunner, heldout: Sequence[Sequence[int]]
) -> Perplexity | None:
    usable = [ids for ids in heldout if len(ids) > 1]
    if not usable:
        return None
    tokens = sum(len(ids) - 1 for ids in usable)
    theirs = sum(_surprise(reference.logits(ids), ids) for ids in usable)
    ours = sum(_surprise(runner.logits(ids), ids) for ids in usable)
    return Perplexity(
        tokens=tokens, transformers=math.exp(theirs / tokens), llama_cpp=math.exp(ours / tokens)
    )


def _surprise(logits: FloatArray, ids: Sequence[int]) -> float:
    """Return the summed negative log-likelihood of `ids[1:]`, in nats."""
    total = 0.0
    for logit, token in zip(logits[:-1], ids[1:], strict=True):
        row = logit.astype(np.float64)
        peak = row.max()
        total += float(peak + np.log(np.exp(row - peak).sum()) - row[token])
    return total
