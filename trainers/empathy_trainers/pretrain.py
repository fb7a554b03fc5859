"""Stage 0: a small Qwen3 language model from nothing, on open Chinese dialogues, without any CoE format.

corpora -> tokenizer -> packed blocks -> transformers' Trainer -> half-precision safetensors. The learning rate warms up
and then stays, so that a later session can go on from the last checkpoint; stage 1 brings it down to zero. The trainer
is transformers' own; what is ours is the loss (chunked, see `loss`) and the optimizer (Muon with AdamW, see `optim`).
A run that was killed goes on from its last whole checkpoint.
"""

from __future__ import annotations

import json
import logging
import shutil
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Trainer,
    TrainingArguments,
)

from empathy_agent.backends.transformers.loading import FACTS_KEY
from empathy_agent.errors import ConfigError
from empathy_trainers.base import ClockCallback, LossLog, compute_dtype, last_checkpoint
from empathy_trainers.data.blocks import BlockDataset, tier_documents, write_blocks
from empathy_trainers.data.corpora import iter_documents, iter_heldout
from empathy_trainers.loss import next_token_loss
from empathy_trainers.optim import MuonWithAdamW
from empathy_trainers.recipe import ModelShape, Recipe, Stage
from empathy_trainers.tokenizer import (
    END_OF_TEXT,
    TURN_END,
    load_tokenizer,
    token_id,
    train_tokenizer,
)

TOKENIZER_DOCUMENTS = 20_000
HELD_OUT_DOCUMENTS = 400
PROGRESS = "progress.json"
"""Beside a base model: how many tokens it has seen."""
log = logging.getLogger(__name__)


class ChunkedLossTrainer(Trainer):
    """transformers' Trainer with the chunked loss, and held-out loss without keeping logits."""

    def __init__(self, *args: Any, loss_dtype: torch.dtype, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loss_dtype = loss_dtype

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the mean next-token loss of `input_ids` (or of `labels`, where given)."""
        core = self.accelerator.unwrap_model(model)
        # The inner model is called directly, past accelerate's wrapper, so autocast is ours to switch on.
        mixed = self.loss_dtype is not torch.float32
        with torch.autocast(inputs["input_ids"].device.type, self.loss_dtype, enabled=mixed):
            hidden = core.model(input_ids=inputs["input_ids"]).last_hidden_state
        labels = inputs.get("labels", inputs["input_ids"])
        loss = next_token_loss(hidden, core.lm_head.weight, labels, dtype=self.loss_dtype)
        return (loss, {}) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: Any, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, None, None]:
        """Return the loss alone."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None


def model_config(
    shape: ModelShape, vocab_size: int, *, end: int | None = None, pad: int | None = None
) -> Qwen3Config:
    """Return a Qwen3 configuration of `shape`, with tied embeddings."""
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=pad,
        eos_token_id=end,
        pad_token_id=pad,
    )
    setattr(config, FACTS_KEY, {"languages": ["zh"], "demonstration": True})
    return config


def build_model(shape: ModelShape, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Return a randomly initialised Qwen3 of `shape` for `tokenizer`."""
    end, pad = token_id(tokenizer, TURN_END), token_id(tokenizer, END_OF_TEXT)
    return Qwen3ForCausalLM(model_config(shape, len(tokenizer), end=end, pad=pad))


def load_model(folder: Path) -> Qwen3ForCausalLM:
    """Return the model of `folder` in float32."""
    return Qwen3ForCausalLM.from_pretrained(str(folder), dtype=torch.float32)


def save_half(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> Path:
    """Save `model` in float16 with its tokenizer, and return the folder."""
    cast("torch.nn.Module", model).to(torch.float16)
    model.save_pretrained(out)
    tokenizer.save_pretrained(str(out))
    return out


def take_up(base: Path, work_dir: Path) -> int:
    """Begin a run from the base model of an earlier one; return the tokens that one has seen.

    The base is copied into the run once. A run that has begun otherwise is left alone.

    Raises:
        ConfigError: `base` is no folder that `save_base` wrote.
    """
    kept = work_dir / "taken-up"
    if not kept.is_dir() and not (work_dir / "pretrain.ids").is_file():
        if not (base / PROGRESS).is_file():
            raise ConfigError(f"{str(base)!r} holds no base model of this project; see --base")
        shutil.copytree(base, kept)
        shutil.copytree(base, work_dir / "tokenizer", ignore=shutil.ignore_patterns("model*"))
    return tokens_before(work_dir)


def tokens_before(work_dir: Path) -> int:
    """Return the tokens that the base model was trained on before this run took it up."""
    path = work_dir / "taken-up" / PROGRESS
    return int(json.loads(path.read_text(encoding="utf-8"))["tokens"]) if path.is_file() else 0


def prepare(recipe: Recipe, data_dir: Path, work_dir: Path) -> PreTrainedTokenizerFast:
    """Train the tokenizer and write the blocks of `recipe`, unless `work_dir` has them already."""
    folder = work_dir / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        texts = (
            text
            for source in recipe.sources
            if source.tier == 0
            for document in islice(iter_documents(data_dir, source.name), TOKENIZER_DOCUMENTS)
            for _, text in document
        )
        train_tokenizer(texts, recipe.model.vocab_size, folder)
    tokenizer = load_tokenizer(folder)
    tiers = [
        [s.name for s in recipe.sources if s.tier == tier]
        for tier in sorted({s.tier for s in recipe.sources})
    ]
    if not (work_dir / "pretrain.ids").is_file():
        total = write_blocks(
            tier_documents(data_dir, tiers, recipe.seed), tokenizer, work_dir / "pretrain.ids"
        )
        log.info("stage 0 has %d tokens of training text", total)
    if not (work_dir / "heldout.ids").is_file():
        write_blocks(
            islice(iter_heldout(data_dir), HELD_OUT_DOCUMENTS), tokenizer, work_dir / "heldout.ids"
        )
    return tokenizer


def stage_arguments(
    stage: Stage, run_dir: Path, *, steps: int, seed: int, dtype: torch.dtype
) -> dict[str, Any]:
    """Return the keyword arguments that both stages give to their trainer's config."""
    return {
        "output_dir": str(run_dir),
        "max_steps": steps,
        "per_device_train_batch_size": stage.batch,
        "per_device_eval_batch_size": stage.batch,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": stage.schedule,
        "warmup_steps": stage.warmup_steps,
        "max_grad_norm": 1.0,
        "bf16": dtype is torch.bfloat16,
        "use_cpu": not torch.cuda.is_available(),
        "activation_checkpointing": False,
        "logging_steps": 10,
        "save_strategy": "no",
        "save_total_limit": 2,
        "eval_strategy": "steps",
        "eval_steps": 250,
        "report_to": "none",
        "seed": seed,
        "remove_unused_columns": False,
    }


def shared_parts(
    stage: Stage,
    model: Qwen3ForCausalLM,
    run_dir: Path,
    tokens_per_step: float,
    stop_after_minutes: float | None,
    before: int = 0,
) -> dict[str, Any]:
    """Return the callbacks and the optimizer that both stages give to their trainer."""
    return {
        "callbacks": [
            ClockCallback(stage.save_minutes, stop_after_minutes),
            LossLog(run_dir, tokens_per_step, before),
        ],
        "optimizer_cls_and_kwargs": (
            MuonWithAdamW,
            {"model": model, "lr": stage.learning_rate, "weight_decay": stage.weight_decay},
        ),
    }


def pretrain(
    recipe: Recipe, data_dir: Path, work_dir: Path, *, stop_after_minutes: float | None = None
) -> Path:
    """Run or resume stage 0 and return the folder of the model as it stands.

    A run that took up an earlier base model goes on in the data where that one stopped.

    Args:
        recipe: What to train.
        data_dir: The folder of the corpora.
        work_dir: Blocks, checkpoints and logs go here; a second call goes on from them.
        stop_after_minutes: Stop earlier by the clock, with a checkpoint.
    """
    tokenizer = prepare(recipe, data_dir, work_dir)
    stage, run_dir = recipe.pretrain, work_dir / "stage0"
    run_dir.mkdir(parents=True, exist_ok=True)
    dtype = compute_dtype(recipe.precision)
    torch.manual_seed(recipe.seed)
    before, taken_up = tokens_before(work_dir), work_dir / "taken-up"
    model = load_model(taken_up) if before else build_model(recipe.model, tokenizer)
    train = BlockDataset(work_dir / "pretrain.ids", stage.block, skip=before // stage.block)
    tokens_per_step = stage.batch * stage.block
    trainer = ChunkedLossTrainer(
        model=model,
        args=TrainingArguments(
            **stage_arguments(
                stage,
                run_dir,
                steps=max(1, (stage.token_budget - before) // tokens_per_step),
                seed=recipe.seed,
                dtype=dtype,
            ),
            train_sampling_strategy="sequential",
        ),
        train_dataset=train,
        eval_dataset=BlockDataset(work_dir / "heldout.ids", stage.block, limit=stage.eval_blocks),
        loss_dtype=dtype,
        **shared_parts(stage, model, run_dir, tokens_per_step, stop_after_minutes, before),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(run_dir))
    trainer.evaluate()
    seen = before + trainer.state.global_step * tokens_per_step
    return save_base(model, tokenizer, work_dir / "base", seen)


def save_base(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, tokens: int
) -> Path:
    """Save a base model in half precision, with the tokens it has seen, so that others go on."""
    save_half(model, tokenizer, out)
    progress = json.dumps({"tokens": tokens})
    (out / PROGRESS).write_text(progress + "\n", encoding="utf-8")
    return out
