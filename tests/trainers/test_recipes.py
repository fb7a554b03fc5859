"""Recipes: every shipped one parses, mistakes are named, no machine's path is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from empathy_agent.errors import ConfigError
from empathy_trainers.data.corpora import READERS
from empathy_trainers.recipe import find_data_dir, load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "trainers" / "recipes").glob("*.yaml"))
GOOD = """
name: small
sources: [{name: smilechat/smilechat, origin: somewhere, licence: CC0-1.0}]
pretrain: {block: 64, batch: 2, learning_rate: 0.001, token_budget: 1000}
sft: {block: 64, batch: 2, learning_rate: 0.001, token_budget: 1000}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_there_are_recipes() -> None:
    assert any(path.name == "tiny-cpu.yaml" for path in RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_shipped_recipe_parses_and_is_portable(path: Path) -> None:
    recipe = load_recipe(path)
    assert {source.name for source in recipe.sources} <= READERS.keys()
    assert all(source.licence and source.origin for source in recipe.sources)
    assert recipe.pretrain.schedule == "constant_with_warmup"
    assert recipe.sft.schedule == "linear"
    assert max(recipe.pretrain.block, recipe.sft.block) <= recipe.model.context
    assert not re.search(r"""(^|[\s"'(])/\w""", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_a_good_recipe_has_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    assert recipe.precision == "auto"
    assert recipe.sft_loss == "completion"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (GOOD + "precison: auto\n", "'precision'"),
        (GOOD.replace("learning_rate", "lerning_rate"), "'learning_rate'"),
        (GOOD + "sft_loss: everything\n", "sft_loss"),
        ("name: [", "not YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, wrong: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_recipe(write(tmp_path, wrong))


def test_an_unknown_key_gets_did_you_mean(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'sft_records'"):
        load_recipe(write(tmp_path, GOOD + "sft_record: 3\n"))


def test_a_missing_recipe_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recipe"):
        load_recipe(tmp_path / "none.yaml")


def test_the_data_folder_is_given_or_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMPATHY_DATA", raising=False)
    with pytest.raises(ConfigError, match="EMPATHY_DATA"):
        find_data_dir()
    monkeypatch.setenv("EMPATHY_DATA", str(tmp_path))
    assert find_data_dir() == tmp_path
    assert find_data_dir(tmp_path) == tmp_path
