"""`make model`: every stage of a recipe in order, each resumed from where the last run left it.

    python -m empathy_trainers.make_model --recipe trainers/recipes/tiny-cpu.yaml --data-dir DATA --work-dir RUNS

Stages that have finished are passed over, so the command may be interrupted and repeated at will.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and run the stages asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, required=True, help="the YAML recipe")
    parser.add_argument("--data-dir", type=Path, help="folder of the corpora; default: EMPATHY_DATA")
    parser.add_argument("--work-dir", type=Path, default=Path("runs"), help="checkpoints and logs (default: runs)")
    parser.add_argument("--stages", default="pretrain,sft,export", help="comma-separated subset, in order")
    parser.add_argument("--stop-after-minutes", type=float, help="end the running stage by the clock")
    options = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")

    from empathy_trainers.recipe import find_data_dir, load_recipe

    recipe = load_recipe(options.recipe)
    data_dir = find_data_dir(options.data_dir)
    work_dir = options.work_dir / recipe.name
    work_dir.mkdir(parents=True, exist_ok=True)
    stages = options.stages.split(",")
    if "pretrain" in stages:
        from empathy_trainers.pretrain import pretrain

        pretrain(recipe, data_dir, work_dir, stop_after_minutes=options.stop_after_minutes)


if __name__ == "__main__":
    main()
