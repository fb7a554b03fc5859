"""A recipe: everything that decides what a run produces, in one validated YAML file.

Corpora are named by origin and licence, never by a path of some machine: `EMPATHY_DATA` or `data_dir` says where they
lie. A typo is an error before any hour is spent.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from empathy_agent.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16"]


class RecipePart(BaseModel):
    """Base of the recipe's sections: frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(RecipePart):
    """One corpus: where it comes from and on what terms."""

    name: str
    """Path below the data folder without `.jsonl.xz`; a key of `data.corpora.READERS`."""
    origin: str
    """The public repository or site that publishes it."""
    licence: str
    tier: int = 0
    """Tiers follow each other in pretraining; sources of one tier are shuffled together."""


class ModelShape(RecipePart):
    """A Qwen3 configuration built from nothing."""

    vocab_size: int = 8192
    hidden_size: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 768
    context: int = 2048
    """Positions the rotary embedding is declared for."""


class Stage(RecipePart):
    """One training stage."""

    block: int
    """Tokens of one sequence (stage 0) or the longest sequence kept (stage 1)."""
    batch: int
    """Sequences of one optimizer step on one device."""
    learning_rate: float
    token_budget: int
    """Training tokens after which the stage ends."""
    schedule: Literal["constant_with_warmup", "linear"] = "linear"
    warmup_steps: int = 100
    weight_decay: float = 0.05
    save_minutes: float = 5.0
    """Minutes between checkpoints."""
    eval_blocks: int = 64
    """Held-out sequences that perplexity is measured on."""


class Recipe(RecipePart):
    """The whole way from corpora to the shipped GGUF."""

    name: str
    seed: int = 20251122
    precision: Precision = "auto"
    """`auto`: bfloat16 where the hardware multiplies it natively, else float32."""
    sources: tuple[Source, ...]
    model: ModelShape = Field(default_factory=ModelShape)
    pretrain: Stage
    sft: Stage
    sft_records: int | None = None
    """At most so many SFT records; None for all."""
    sft_loss: Literal["completion", "all"] = "completion"
    """What stage 1 learns: chain and answer alone, or the post as well, as a small model still
    learns the language."""
    quantization: Literal["q8_0", "f16", "f32"] = "q8_0"


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe.

    Raises:
        ConfigError: The file is missing or a setting is unknown or out of range; the message names it.
    """
    import yaml

    if not path.is_file():
        raise ConfigError(f"no recipe {str(path)!r}; the shipped ones are in trainers/recipes")
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name} is not YAML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path.name}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    lines = []
    known = {name for part in (Recipe, Stage, ModelShape, Source) for name in part.model_fields}
    for problem in error.errors():
        key = ".".join(str(p) for p in problem["loc"])
        near = get_close_matches(str(problem["loc"][-1]), known - {str(problem["loc"][-1])}, n=1)
        hint = (
            f"; did you mean {near[0]!r}?" if problem["type"] == "extra_forbidden" and near else ""
        )
        lines.append(f"{key}: {problem['msg']}{hint}")
    return "; ".join(lines)


def find_data_dir(given: Path | None = None) -> Path:
    """Return the folder of the corpora: `given`, or the environment's `EMPATHY_DATA`.

    Raises:
        ConfigError: Neither names an existing folder.
    """
    named = given or (Path(os.environ["EMPATHY_DATA"]) if os.environ.get("EMPATHY_DATA") else None)
    if named is None or not named.is_dir():
        raise ConfigError(
            "the corpora are needed: pass --data-dir or set EMPATHY_DATA to the folder that holds them"
        )
    return named
