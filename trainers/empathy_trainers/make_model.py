"""`make model`: every stage of a recipe in order, each resumed from where the last run left it.

    python -m empathy_trainers.make_model --recipe trainers/recipes/tiny-cpu.yaml --work-dir runs

Stages: `pretrain` (stage 0), `prepare` (tokenise the SFT data), `sft` (stage 1, from the newest
model of stage 0), `export` (the GGUF) and `report` (figures, curves, comparison, card). What has
finished is passed over, so the command may be interrupted and repeated at will; `state.json` in
the run's folder says what has. A stage begins again where what it was made from has changed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from empathy_trainers.recipe import Recipe

STAGES = ("pretrain", "prepare", "sft", "export", "report")
log = logging.getLogger(__name__)


class Pipeline:
    """The stages of one recipe in one work folder.

    Args:
        recipe: What to make.
        data_dir: The folder of the corpora.
        work_dir: The run's own folder.
        options: The command line.
    """

    def __init__(
        self, recipe: Recipe, data_dir: Path, work_dir: Path, options: argparse.Namespace
    ) -> None:
        self.recipe, self.data_dir, self.work_dir = recipe, data_dir, work_dir
        self.options = options
        self.gguf: Path = options.out or work_dir / f"{recipe.name}.gguf"
        work_dir.mkdir(parents=True, exist_ok=True)

    def run(self, stages: list[str]) -> None:
        """Run `stages` in order."""
        steps: dict[str, Callable[[], None]] = {name: getattr(self, name) for name in STAGES}
        for name in STAGES:
            if name in stages:
                log.info("stage %r", name)
                steps[name]()

    def pretrain(self) -> None:
        """Run stage 0 unless its budget is spent."""
        if self._state().get("pretrain", {}).get("finished"):
            log.info("stage 0 has finished before")
            return
        from empathy_trainers.pretrain import pretrain, take_up
        from empathy_trainers.report import run_metrics

        if self.options.base is not None:
            take_up(self.options.base, self.work_dir)
        pretrain(
            self.recipe,
            self.data_dir,
            self.work_dir,
            stop_after_minutes=self.options.stop_after_minutes,
        )
        stage, tokens = self.recipe.pretrain, int(run_metrics(self.work_dir / "stage0")["tokens"])
        step = stage.batch * stage.block
        self._mark("pretrain", finished=tokens >= stage.token_budget // step * step, tokens=tokens)

    def prepare(self) -> None:
        """Tokenise the data of stage 1; needs the tokenizer, which stage 0 makes first."""
        from empathy_trainers.sft import prepare_sft

        recipe = self.recipe
        prepare_sft(recipe, self.data_dir, self.work_dir, "train", recipe.sft_records)
        prepare_sft(recipe, self.data_dir, self.work_dir, "valid", recipe.sft.eval_blocks)

    def sft(self) -> None:
        """Run stage 1 unless its budget is spent on the base model as it is now."""
        from empathy_trainers.report import run_metrics
        from empathy_trainers.sft import sft, take_base

        base = digest(take_base(self.recipe, self.work_dir) / "model.safetensors")
        before = self._state().get("sft", {})
        if before.get("finished") and before.get("base") == base:
            log.info("stage 1 has finished before")
            return
        sft(
            self.recipe,
            self.data_dir,
            self.work_dir,
            stop_after_minutes=self.options.stop_after_minutes,
        )
        tokens = int(run_metrics(self.work_dir / "stage1")["tokens"])
        finished = tokens >= self.recipe.sft.token_budget
        if not finished:
            log.info("stage 1 stopped at %d tokens; run it again to go on", tokens)
        self._mark("sft", finished=finished, tokens=tokens, base=base)

    def export(self) -> None:
        """Write the GGUF unless it was made from the model as it is now."""
        from empathy_trainers.report import export

        model = digest(self.work_dir / "sft" / "model.safetensors")
        before = self._state().get("export", {})
        if self.gguf.is_file() and before == {**before, "model": model, "file": str(self.gguf)}:
            log.info("%s is up to date", self.gguf.name)
            return
        export(self.recipe, self.work_dir, self.gguf)
        self._mark("export", model=model, file=str(self.gguf), sha256=digest(self.gguf))

    def report(self) -> None:
        """Measure, draw, compare the export with transformers, and write the card."""
        from empathy_trainers.report import measure, verify_exports, write_model_card

        metrics = measure(self.recipe, self.work_dir, self.options.figures)
        if self.gguf.is_file():
            found = verify_exports(self.recipe, self.work_dir, self.gguf)
            write_model_card(
                self.recipe,
                self.data_dir,
                self.work_dir,
                self.gguf,
                metrics,
                found,
                self.options.samples,
            )
        self._mark("report", stages=sorted(metrics.keys() & {"stage0", "stage1"}))

    def _state(self) -> dict[str, dict[str, Any]]:
        path = self.work_dir / "state.json"
        if not path.is_file():
            return {}
        found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _mark(self, name: str, **facts: object) -> None:
        from empathy_trainers.report import write_json

        at = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self.work_dir / "state.json", {**self._state(), name: {**facts, "at": at}})


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = found.add_argument
    add("--recipe", type=Path, required=True, help="the YAML recipe")
    add("--data-dir", type=Path, help="folder of the corpora; default: EMPATHY_DATA")
    add("--work-dir", type=Path, default=Path("runs"), help="checkpoints, logs (default: runs)")
    add("--stages", default=",".join(STAGES), help="comma-separated subset, always run in order")
    add("--stop-after-minutes", type=float, help="end each training stage by the clock")
    add("--base", type=Path, help="begin stage 0 from an earlier run's base model")
    add("--sft-tokens", type=int, help="token budget of stage 1, instead of the recipe's")
    add("--out", type=Path, help="the GGUF to write (default: in the run's folder)")
    add("--figures", type=Path, default=Path("docs/img"), help="folder of the loss curves")
    add("--samples", type=Path, help="JSON of empathy_trainers.samples, for the card")
    return found


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and run the stages asked for."""
    options = parser().parse_args(argv)
    stages = [name.strip() for name in options.stages.split(",")]
    # Read by libraries when they are first imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")

    from empathy_agent.errors import ConfigError
    from empathy_trainers.recipe import find_data_dir, load_recipe

    if unknown := [name for name in stages if name not in STAGES]:
        raise ConfigError(f"unknown stage {unknown[0]!r}; known are {', '.join(STAGES)}")
    recipe = load_recipe(options.recipe)
    if options.sft_tokens is not None:
        budget = recipe.sft.model_copy(update={"token_budget": options.sft_tokens})
        recipe = recipe.model_copy(update={"sft": budget})
    data_dir = find_data_dir(options.data_dir)
    Pipeline(recipe, data_dir, options.work_dir / recipe.name, options).run(stages)


if __name__ == "__main__":
    main()
