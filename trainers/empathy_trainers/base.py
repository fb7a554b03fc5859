"""What both stages share: precision, budgets, checkpoints by the clock, the loss log and its curve.

The loops themselves are transformers' and TRL's. This module gives them callbacks: one ends a run when its tokens or
minutes are spent, one saves by the clock (steps differ by machine, minutes do not), one keeps a JSONL of the losses
that outlives a kill.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from empathy_trainers.recipe import Precision

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments


def compute_dtype(precision: Precision) -> torch.dtype:
    """Return the type of matrix products for `precision` on this machine."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return (
        torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16", False) else torch.float32
    )


def last_checkpoint(run_dir: Path) -> str | None:
    """Return the newest complete checkpoint of a run, or None. A half-written one is passed over."""
    complete = [p for p in run_dir.glob("checkpoint-*") if (p / "trainer_state.json").is_file()]
    if not complete:
        return None
    newest = max(complete, key=lambda p: int(p.name.rpartition("-")[2]))
    return str(newest)


class ClockCallback(TrainerCallback):
    """Save every `save_minutes`, and stop (after a save) once `stop_after_minutes` have passed."""

    def __init__(self, save_minutes: float, stop_after_minutes: float | None = None) -> None:
        self.save_s = save_minutes * 60
        self.stop_at = (
            time.monotonic() + stop_after_minutes * 60 if stop_after_minutes else math.inf
        )
        self.saved_at = time.monotonic()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Decide after each optimizer step."""
        now = time.monotonic()
        if now >= self.stop_at:
            control.should_save = control.should_training_stop = True
        elif now - self.saved_at >= self.save_s:
            control.should_save, self.saved_at = True, now


class LossLog(TrainerCallback):
    """Append every logged value to `log.jsonl` of the run, with tokens seen and seconds since the start."""

    def __init__(self, run_dir: Path, tokens_per_step: float, before: int = 0) -> None:
        self.path = run_dir / "log.jsonl"
        self.tokens_per_step = tokens_per_step
        self.before = before
        self.started = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write one line."""
        row = {
            "step": state.global_step,
            "tokens": self.before + round(state.global_step * self.tokens_per_step),
            "seconds": round(time.monotonic() - self.started, 1),
            **(logs or {}),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def read_log(run_dir: Path) -> list[dict[str, float]]:
    """Return the rows of a run's log, the last one of each step, in order."""
    path = run_dir / "log.jsonl"
    if not path.is_file():
        return []
    rows = [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    return [row for row in rows if "loss" in row or "eval_loss" in row]


def plot_losses(run_dir: Path, title: str, out: Path) -> None:
    """Draw training and held-out loss (nats a token) over tokens seen into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = read_log(run_dir)
    figure, axes = plt.subplots(figsize=(7, 4), dpi=110)
    for key, label in (("loss", "training"), ("eval_loss", "held out")):
        points = [(row["tokens"] / 1e6, row[key]) for row in rows if key in row]
        if points:
            axes.plot(
                *zip(*points, strict=True), label=label, marker="o" if key == "eval_loss" else None
            )
    axes.set(title=title, xlabel="million tokens", ylabel="loss, nats a token")
    axes.grid(alpha=0.3)
    axes.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(out)
    plt.close(figure)
