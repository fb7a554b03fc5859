"""Stage 0 on invented corpora: a whole run, its log, and how it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from empathy_agent.errors import ConfigError
from empathy_trainers.base import (
    ClockCallback,
    compute_dtype,
    last_checkpoint,
    plot_losses,
    read_log,
)
from empathy_trainers.pretrain import build_model, pretrain, take_up
from tests.trainers.corpus import make_data_dir, make_recipe

pytestmark = pytest.mark.filterwarnings(
    # https://github.com/pytorch/pytorch/issues/57273: memory pinning without an accelerator
    "ignore:.*pin_memory.*:UserWarning",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the work folder of a finished stage 0."""
    folder = tmp_path_factory.mktemp("stage0")
    pretrain(make_recipe(), make_data_dir(folder / "data"), folder / "work")
    return folder / "work"


def test_a_run_leaves_a_model_in_half_precision_with_its_tokenizer(run: Path) -> None:
    model = Qwen3ForCausalLM.from_pretrained(run / "base")
    assert model.dtype is torch.float16
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(run / "base"))
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert "<L1>" in tokenizer.all_special_tokens
    assert model.config.tie_word_embeddings


def test_the_log_counts_tokens_and_outlives_the_run(run: Path, tmp_path: Path) -> None:
    rows = read_log(run / "stage0")
    assert rows[-1]["tokens"] == 2048
    assert rows[-1]["eval_loss"] < 7.0
    plot_losses(run / "stage0", "stage 0", tmp_path / "img" / "stage0.png")
    assert (tmp_path / "img" / "stage0.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_stopped_by_the_clock_goes_on_from_its_checkpoint(run: Path, tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path / "data")
    recipe, work_dir = make_recipe(), tmp_path / "work"
    pretrain(recipe, data_dir, work_dir, stop_after_minutes=1e-9)
    assert last_checkpoint(work_dir / "stage0") == str(work_dir / "stage0" / "checkpoint-1")
    pretrain(recipe, data_dir, work_dir)
    last = read_log(work_dir / "stage0")[-1]
    assert last["step"] == 4
    whole = read_log(run / "stage0")[-1]
    assert last["eval_loss"] == pytest.approx(whole["eval_loss"], abs=1e-4)


def test_a_run_takes_up_the_base_of_an_earlier_one_and_its_place_in_the_data(
    run: Path, tmp_path: Path
) -> None:
    assert take_up(run / "base", tmp_path / "work") == 2048
    recipe = make_recipe()
    more = recipe.model_copy(
        update={"pretrain": recipe.pretrain.model_copy(update={"token_budget": 3072})}
    )
    pretrain(more, make_data_dir(tmp_path / "data"), tmp_path / "work")
    rows = read_log(tmp_path / "work" / "stage0")
    assert rows[-1]["tokens"] == 3072
    assert json.loads((tmp_path / "work" / "base" / "progress.json").read_text()) == {
        "tokens": 3072
    }
    # It did not begin from nothing: two steps alone would leave it far behind.
    before = read_log(run / "stage0")[-1]["eval_loss"]
    assert rows[-1]["eval_loss"] < before + 0.05


def test_a_folder_without_a_base_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="base model"):
        take_up(tmp_path, tmp_path / "work")


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, is_whole in ((9, True), (20, True), (100, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / ("trainer_state.json" if is_whole else "model.safetensors")).write_text("{}")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-20")


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, "train_runtime": 2.0}) + "\n\n")
    assert read_log(tmp_path) == []


def test_the_clock_saves_between_and_stops_at_the_end() -> None:
    class Control:
        should_save = False
        should_training_stop = False

    for callback, expected in (
        (ClockCallback(1e9), (False, False)),
        (ClockCallback(0.0), (True, False)),
        (ClockCallback(1e9, 1e-9), (True, True)),
    ):
        control = Control()
        callback.on_step_end(None, None, control)  # type: ignore[arg-type]
        assert (control.should_save, control.should_training_stop) == expected


def test_precision_follows_the_recipe() -> None:
    assert compute_dtype("float32") is torch.float32
    assert compute_dtype("bfloat16") is torch.bfloat16
    assert compute_dtype("auto") in (torch.float32, torch.bfloat16)


def test_the_model_has_the_shape_of_the_recipe(run: Path) -> None:
    shape = make_recipe().model
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(run / "tokenizer"))
    config = build_model(shape, tokenizer).config
    assert config.num_hidden_layers == shape.layers
    assert config.max_position_embeddings == shape.context
