"""Stage 1: supervised fine-tuning on Chain-of-Empathy transcripts, from the model of stage 0.

records -> token ids (`data.coe`) -> TRL's SFTTrainer -> half-precision safetensors. The learning
rate falls to zero, so the token budget has to be chosen before the start. TRL computes the loss
through `fused_lm_head`; ours is the chunked one of stage 0, which a CPU does faster, with
the same values. Sequences of one length make a batch: on these data padding is about one percent,
so packing, which needs a block-diagonal mask or lets posts see each other, has nothing to gain.

A run that was killed goes on from its last whole checkpoint. A run whose base model has changed
since is set aside (`stage1-<hash>`) and begun again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from empathy_agent.errors import ConfigError
from empathy_trainers.base import compute_dtype, last_checkpoint
from empathy_trainers.data.coe import Sequences, write_sequences
from empathy_trainers.data.splits import Split, smilechat_groups
from empathy_trainers.loss import IGNORE, next_token_loss
from empathy_trainers.pretrain import (
    ChunkedLossTrainer,
    load_model,
    save_base,
    save_half,
    shared_parts,
    stage_arguments,
    tokens_before,
)
from empathy_trainers.recipe import Recipe
from empathy_trainers.tokenizer import load_tokenizer
from empathy_trainers.weak.annotate import ANNOTATOR

log = logging.getLogger(__name__)


class ChunkedSFTTrainer(ChunkedLossTrainer, SFTTrainer):
    """TRL's trainer with the chunked loss of stage 0, exact under gradient accumulation."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the loss per counted token of the whole step, or of this batch alone."""
        loss = super().compute_loss(model, inputs)
        if num_items_in_batch is not None:
            loss = loss * (inputs["labels"][:, 1:] != IGNORE).sum() / num_items_in_batch
        return (loss, {}) if return_outputs else loss

    def _send_telemetry(self) -> None:
        """Send nothing."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: the export writes the card."""


def prepare_sft(
    recipe: Recipe, data_dir: Path, work_dir: Path, split: Split, limit: int | None = None
) -> Sequences:
    """Return the encoded records of `split`, built unless `work_dir` has them for these settings.

    Args:
        recipe: Block, seed and number of records.
        data_dir: The folder of the corpora.
        work_dir: Holds the tokenizer; the sequences are kept here.
        split: Which side of the group split.
        limit: The most sequences to keep, one per group of dialogues first.
    """
    path, mark = work_dir / f"sft-{split}.npz", work_dir / f"sft-{split}.key"
    folder = work_dir / "tokenizer"
    settings = [recipe.sft.block, recipe.seed, limit, ANNOTATOR]
    tokens = (folder / "tokenizer.json").read_bytes()
    key = hashlib.sha256(json.dumps(settings).encode() + tokens).hexdigest()
    if not (path.is_file() and mark.is_file() and mark.read_text(encoding="utf-8") == key):
        from empathy_trainers.weak.records import build_sft_records

        groups = {f"smilechat-{one}": group for one, group in smilechat_groups(data_dir).items()}
        report = write_sequences(
            build_sft_records(data_dir, split),
            PreTrainedTokenizerFast.from_pretrained(str(folder)),
            path,
            block=recipe.sft.block,
            seed=recipe.seed,
            group_of=groups,
            limit=limit,
        )
        mark.write_text(key, encoding="utf-8")
        log.info("stage 1, %s: %s", split, report)
    return Sequences(path)


def take_base(recipe: Recipe, work_dir: Path) -> Path:
    """Return the model of stage 0, made from its newest checkpoint where that is newer.

    Raises:
        ConfigError: Stage 0 has left neither a model nor a checkpoint.
    """
    out, checkpoint = work_dir / "base", last_checkpoint(work_dir / "stage0")
    weights = out / "model.safetensors"
    if checkpoint is not None:
        newest = Path(checkpoint) / "model.safetensors"
        if not weights.is_file() or newest.stat().st_mtime > weights.stat().st_mtime:
            state = json.loads((Path(checkpoint) / "trainer_state.json").read_text("utf-8"))
            step = recipe.pretrain.batch * recipe.pretrain.block
            seen = tokens_before(work_dir) + int(state["global_step"]) * step
            save_base(
                load_model(Path(checkpoint)), load_tokenizer(work_dir / "tokenizer"), out, seen
            )
            log.info("the base model is %s of stage 0", Path(checkpoint).name)
    if not weights.is_file():
        raise ConfigError("there is no model of stage 0 in the work folder; run stage 'pretrain'")
    return out


def sft(
    recipe: Recipe, data_dir: Path, work_dir: Path, *, stop_after_minutes: float | None = None
) -> Path:
    """Run or resume stage 1 and return the folder of the model as it stands.

    Args:
        recipe: What to train.
        data_dir: The folder of the corpora.
        work_dir: The base model is read from here; checkpoints and logs go here.
        stop_after_minutes: Stop earlier by the clock, with a checkpoint.
    """
    stage, seed = recipe.sft, recipe.seed
    train = prepare_sft(recipe, data_dir, work_dir, "train", recipe.sft_records)
    valid = prepare_sft(recipe, data_dir, work_dir, "valid", stage.eval_blocks)
    base = take_base(recipe, work_dir)
    run_dir = _run_dir(work_dir, base)
    dtype = compute_dtype(recipe.precision)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(base))
    model = load_model(base)
    tokens_per_step = float(train.lengths.mean()) * stage.batch
    steps = max(1, math.ceil(stage.token_budget / tokens_per_step))
    arguments = stage_arguments(stage, run_dir, steps=steps, seed=seed, dtype=dtype)
    trainer = ChunkedSFTTrainer(
        model=model,
        args=SFTConfig(
            **{**arguments, "eval_steps": max(1, min(250, steps // 6))},
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            train_sampling_strategy="sequential",
        ),
        train_dataset=as_dataset(
            train, train.batch_order(stage.batch, seed), only_completion=recipe.sft_loss != "all"
        ),
        eval_dataset=as_dataset(valid, range(len(valid)), only_completion=True),
        processing_class=tokenizer,
        loss_dtype=dtype,
        **shared_parts(stage, model, run_dir, tokens_per_step, stop_after_minutes),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(run_dir))
    trainer.evaluate()
    return save_half(model, tokenizer, work_dir / "sft")


def as_dataset(sequences: Sequences, order: Any, *, only_completion: bool) -> Any:
    """Return a `datasets.Dataset` of `input_ids` and `labels` that reads `sequences` when asked.

    Args:
        sequences: Where the ids are.
        order: Indices in training order.
        only_completion: Whether prompts are left out of the loss.
    """
    from datasets import Dataset

    def read(rows: dict[str, list[int]]) -> dict[str, list[list[int]]]:
        found: dict[str, list[list[int]]] = {"input_ids": [], "labels": []}
        for index in rows["index"]:
            ids, completion = sequences[index]
            counted = completion if only_completion else completion | True
            found["input_ids"].append(ids.tolist())
            found["labels"].append(
                [int(i) if c else IGNORE for i, c in zip(ids, counted, strict=True)]
            )
        return found

    return Dataset.from_dict({"index": list(order)}).with_transform(read)


def heldout_loss(
    model: Qwen3ForCausalLM, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]
) -> tuple[float, int]:
    """Return the mean loss a token in nats, float32, and the number of tokens.

    Args:
        model: In float32.
        batches: `input_ids` and `labels`, both `(batch, seq)` int64, `-100` where not counted.
    """
    nats, tokens = 0.0, 0
    with torch.no_grad():
        for ids, labels in batches:
            hidden = model.model(input_ids=ids).last_hidden_state
            weight = model.lm_head.weight
            loss = next_token_loss(hidden, weight, labels, dtype=torch.float32, tokens=1)
            nats += float(loss)
            tokens += int((labels[:, 1:] != IGNORE).sum())
    return nats / max(tokens, 1), tokens


def _run_dir(work_dir: Path, base: Path) -> Path:
    """Return the folder of this run; one that began from another base model is renamed."""
    run_dir, digest = work_dir / "stage1", hashlib.sha256()
    digest.update((base / "model.safetensors").read_bytes())
    mark, now = run_dir / "base.sha256", digest.hexdigest()
    if run_dir.is_dir() and (not mark.is_file() or mark.read_text(encoding="utf-8") != now):
        before = mark.read_text(encoding="utf-8")[:12] if mark.is_file() else "unknown"
        run_dir.rename(work_dir / f"stage1-{before}")
        log.warning("the base model has changed: the earlier run is kept as stage1-%s", before)
    run_dir.mkdir(parents=True, exist_ok=True)
    mark.write_text(now, encoding="utf-8")
    return run_dir
