"""`make_model`: stages in order, passed over when finished, begun again when stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from empathy_agent.errors import ConfigError
from empathy_trainers.make_model import main
from empathy_trainers.report import run_metrics
from tests.trainers.corpus import make_data_dir, make_recipe

pytestmark = pytest.mark.filterwarnings(
    # https://github.com/pytorch/pytorch/issues/57273: memory pinning without an accelerator
    "ignore:.*pin_memory.*:UserWarning",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with corpora, a recipe and a run that went through both trainings."""
    path = tmp_path_factory.mktemp("make")
    make_data_dir(path / "data")
    recipe = json.loads(make_recipe().model_dump_json())
    (path / "minute.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    run(path, "pretrain,prepare,sft")
    return path


def run(folder: Path, stages: str, *more: str) -> None:
    paths = ["--recipe", "minute.yaml", "--data-dir", "data", "--work-dir", "runs"]
    paths = [str(folder / one) if not one.startswith("--") else one for one in paths]
    figures = ["--figures", str(folder / "img")]
    main([*paths, *figures, "--stages", stages, *more])


def state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "runs/minute/state.json").read_text())
    return found


def test_finished_stages_are_marked_and_passed_over(folder: Path) -> None:
    before = state(folder)
    assert before["pretrain"]["finished"]
    assert before["pretrain"]["tokens"] == 2048
    assert before["sft"]["finished"]
    run(folder, "pretrain,sft")
    assert state(folder) == before


def test_a_larger_budget_of_tokens_is_taken_from_the_command_line(folder: Path) -> None:
    with pytest.raises(ConfigError, match="unknown stage 'sftt'"):
        run(folder, "sftt", "--sft-tokens", "9")


def test_the_report_measures_both_stages_and_draws_them(folder: Path) -> None:
    run(folder, "report")
    metrics = json.loads((folder / "runs/minute/metrics.json").read_text())
    for stage in ("stage0", "stage1"):
        assert (folder / "img" / f"{stage}.png").is_file()
        for held_out in ("heldout_dialogues", "heldout_chains"):
            found = metrics[stage][held_out]
            assert found["perplexity"] == pytest.approx(2.718281828 ** found["loss"], rel=1e-3)
            assert found["bits_per_character"] > 0
            assert 0 < found["characters"]
    chains = [metrics[stage]["heldout_chains"]["loss"] for stage in ("stage0", "stage1")]
    assert chains[1] < chains[0]
    assert metrics["sft_train"]["left_out_too_long"] == 0


@pytest.mark.slow
def test_the_export_is_compared_and_gets_a_card(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    samples = tmp_path / "samples.json"
    share = {"valid": 1, "total": 4, "settings": "temperature 0.7"}
    samples.write_text(json.dumps({"format_share": share}), encoding="utf-8")
    run(folder, "export,report", "--samples", str(samples))
    work = folder / "runs" / "minute"
    before = state(folder)["export"]
    card = (work / "minute.md").read_text(encoding="utf-8")
    assert before["sha256"] in card
    assert "1 of 4" in card
    reports = json.loads((work / "verify.json").read_text())
    assert {one["quantization"] for one in reports} >= {"f32", "f16"}
    run(folder, "export")
    assert state(folder)["export"] == before


def test_speed_and_hours_count_every_session(tmp_path: Path) -> None:
    rows = [
        {"tokens": 100, "seconds": 10.0, "loss": 3.0},
        {"tokens": 200, "seconds": 20.0, "loss": 2.0},
        {"tokens": 300, "seconds": 5.0, "loss": 1.0},
        {"tokens": 400, "seconds": 15.0, "loss": 1.0},
    ]
    text = "".join(json.dumps({"step": n, **row}) + "\n" for n, row in enumerate(rows))
    (tmp_path / "log.jsonl").write_text(text, encoding="utf-8")
    found = run_metrics(tmp_path)
    assert found["tokens"] == 400
    assert found["tokens_per_second"] == 10
    assert found["hours"] == pytest.approx(35 / 3600, abs=0.01)
    assert found["train_loss"] == pytest.approx(1.75)
