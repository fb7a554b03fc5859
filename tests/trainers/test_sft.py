"""Stage 1 on invented dialogues: a whole run, what it learns, gradient accumulation, resuming."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM
from trl.trainer.sft_config import SFTConfig

from empathy_agent.errors import ConfigError
from empathy_trainers.base import last_checkpoint, read_log
from empathy_trainers.data.coe import Sequences
from empathy_trainers.loss import IGNORE
from empathy_trainers.pretrain import load_model, pretrain
from empathy_trainers.sft import (
    ChunkedSFTTrainer,
    as_dataset,
    heldout_loss,
    prepare_sft,
    sft,
    take_base,
)
from tests.trainers.corpus import make_data_dir, make_recipe

pytestmark = pytest.mark.filterwarnings(
    # https://github.com/pytorch/pytorch/issues/57273: memory pinning without an accelerator
    "ignore:.*pin_memory.*:UserWarning",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `data` and `work`, of which stage 0 has finished."""
    folder = tmp_path_factory.mktemp("sft")
    pretrain(make_recipe(), make_data_dir(folder / "data"), folder / "work")
    recipe = make_recipe()
    prepare_sft(recipe, folder / "data", folder / "work", "train", recipe.sft_records)
    prepare_sft(recipe, folder / "data", folder / "work", "valid", recipe.sft.eval_blocks)
    return folder


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    """Return a copy of `base` to train in."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


def test_a_run_leaves_a_model_that_has_learnt(folder: Path) -> None:
    out = sft(make_recipe(), folder / "data", folder / "work")
    assert Qwen3ForCausalLM.from_pretrained(out).dtype is torch.float16
    assert (out / "tokenizer.json").is_file()
    rows = read_log(folder / "work" / "stage1")
    losses = [row["eval_loss"] for row in rows if "eval_loss" in row]
    assert losses[-1] < losses[0]
    assert rows[-1]["tokens"] >= 4000


def test_a_run_stopped_by_the_clock_goes_on_and_ends_as_a_whole_one(
    folder: Path, base: Path, tmp_path: Path
) -> None:
    sft(make_recipe(), folder / "data", folder / "work", stop_after_minutes=1e-9)
    assert last_checkpoint(folder / "work" / "stage1") is not None
    sft(make_recipe(), folder / "data", folder / "work")
    whole = Path(shutil.copytree(base, tmp_path / "whole"))
    sft(make_recipe(), whole / "data", whole / "work")
    resumed, straight = (read_log(one / "work" / "stage1")[-1] for one in (folder, whole))
    assert resumed["step"] == straight["step"]
    assert resumed["eval_loss"] == pytest.approx(straight["eval_loss"], abs=1e-3)


def test_a_run_on_another_base_begins_again_and_keeps_the_old_one(folder: Path) -> None:
    work = folder / "work"
    sft(make_recipe(), folder / "data", work, stop_after_minutes=1e-9)
    model = load_model(work / "base")
    with torch.no_grad():
        model.lm_head.weight.mul_(0.5)
    model.save_pretrained(work / "base")
    sft(make_recipe(), folder / "data", work, stop_after_minutes=1e-9)
    assert len(list(work.glob("stage1-*"))) == 1
    assert read_log(work / "stage1")[-1]["step"] == 1


def test_the_newest_checkpoint_is_the_base_where_the_run_was_killed(folder: Path) -> None:
    work = folder / "work"
    expected = load_model(work / "base").lm_head.weight
    checkpoint = work / "stage0" / "checkpoint-4"
    checkpoint.mkdir()
    load_model(work / "base").save_pretrained(checkpoint)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 4}')
    shutil.rmtree(work / "base")
    out = take_base(make_recipe(), work)
    torch.testing.assert_close(load_model(out).lm_head.weight, expected)
    assert (out / "tokenizer.json").is_file()
    assert json.loads((out / "progress.json").read_text()) == {"tokens": 2048}


def test_without_stage_0_there_is_no_stage_1(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pretrain"):
        take_base(make_recipe(), tmp_path)


def test_sequences_are_kept_until_a_setting_changes(folder: Path) -> None:
    recipe, work = make_recipe(), folder / "work"
    path = work / "sft-train.npz"
    before = path.stat().st_mtime_ns
    prepare_sft(recipe, folder / "data", work, "train")
    assert path.stat().st_mtime_ns == before
    kept = prepare_sft(recipe, folder / "data", work, "train", limit=5)
    assert len(kept) == 5


def test_labels_follow_the_setting(base: Path) -> None:
    sequences = Sequences(base / "work" / "sft-train.npz")
    ids, completion = sequences[2]
    chain = as_dataset(sequences, [2], only_completion=True)[0]
    everything = as_dataset(sequences, [2], only_completion=False)[0]
    assert chain["input_ids"] == everything["input_ids"] == everything["labels"] == ids.tolist()
    assert [label != IGNORE for label in chain["labels"]] == completion.tolist()


def make_trainer(base: Path, out: Path, batch: int, accumulation: int) -> ChunkedSFTTrainer:
    sequences = Sequences(base / "work" / "sft-train.npz")
    order = sorted(range(len(sequences)), key=lambda row: int(sequences.lengths[row]))[::30][:4]
    model = load_model(base / "work" / "base")
    arguments: dict[str, Any] = {
        "output_dir": str(out),
        "max_steps": 1,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": 0.1,
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "bf16": False,
        "use_cpu": True,
        "activation_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "remove_unused_columns": False,
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "train_sampling_strategy": "sequential",
    }
    return ChunkedSFTTrainer(
        model=model,
        args=SFTConfig(**arguments),
        train_dataset=as_dataset(sequences, order, only_completion=True),
        processing_class=PreTrainedTokenizerFast.from_pretrained(str(base / "work" / "base")),
        optimizers=(torch.optim.SGD(model.parameters(), lr=0.1), None),
        loss_dtype=torch.float32,
    )


def test_four_batches_of_one_step_like_one_batch_of_four(base: Path, tmp_path: Path) -> None:
    weights = []
    for batch, accumulation in ((4, 1), (1, 4)):
        trainer = make_trainer(base, tmp_path / str(batch), batch, accumulation)
        trainer.train()
        assert trainer.model is not None
        weights.append([p.detach().clone() for p in trainer.model.parameters()])
    start = [p.detach() for p in load_model(base / "work" / "base").parameters()]
    assert any(not torch.equal(one, other) for one, other in zip(start, weights[0], strict=True))
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_loss_is_that_of_the_model_itself(base: Path) -> None:
    model = load_model(base / "work" / "base")
    ids = torch.randint(0, model.config.vocab_size, (2, 24))
    labels = ids.clone()
    labels[:, :9] = IGNORE
    with torch.no_grad():
        expected = model(input_ids=ids, labels=labels).loss
    found, tokens = heldout_loss(model, iter([(ids, labels)]))
    assert found == pytest.approx(float(expected), rel=1e-5)
    assert tokens == 2 * 15


SCRIPT = """
import sys
from pathlib import Path
from empathy_trainers.sft import sft
from tests.trainers.corpus import make_recipe
from tests.trainers.test_sft import long_run
folder = Path(sys.argv[1])
sft(long_run(), folder / "data", folder / "work")
"""


def long_run() -> Any:
    """Return the recipe of a run that saves after every step."""
    recipe = make_recipe()
    stage = recipe.sft.model_copy(update={"save_minutes": 0.0, "token_budget": 30_000})
    return recipe.model_copy(update={"sft": stage})


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_whole_checkpoint(folder: Path) -> None:
    run_dir = folder / "work" / "stage1"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 180
    while len(list(run_dir.glob("checkpoint-*/trainer_state.json"))) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    checkpoint = last_checkpoint(run_dir)
    assert checkpoint is not None
    killed_at = int(checkpoint.rpartition("-")[2])
    sft(long_run(), folder / "data", folder / "work")
    rows = read_log(run_dir)
    assert rows[-1]["tokens"] >= 30_000
    # The log is written every ten steps: a run that began again would log its tenth step twice.
    tenths = [row["step"] for row in rows if "loss" in row]
    assert [step for step in tenths if step <= killed_at] == list(range(10, killed_at + 1, 10))
