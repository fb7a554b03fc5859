"""Splits by group: stable, disjoint, and the same for both stages."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_agent.errors import TrainingDataError
from empathy_trainers.data.splits import heldout_ids, read_jsonl, smilechat_groups, split_of
from tests.trainers.corpus import GROUPS, make_data_dir


@given(st.integers(0, 10**9))
def test_a_group_has_one_split_for_ever(group: int) -> None:
    assert split_of(group) == split_of(group)
    assert split_of(group) in ("train", "valid", "test")


def test_the_split_of_known_groups_never_changes() -> None:
    counts = [split_of(group) for group in range(20_000)]
    assert counts.count("test") == pytest.approx(400, rel=0.2)
    assert counts.count("valid") == pytest.approx(400, rel=0.2)
    assert [g for g in range(100) if split_of(g) != "train"] == [3, 17, 39, 48]


def test_held_out_ids_are_those_of_other_groups(tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path)
    assert len(smilechat_groups(data_dir)) == GROUPS
    assert heldout_ids(data_dir) == {n for n in range(GROUPS) if split_of(n) != "train"}


def test_jsonl_is_read_plain_and_compressed(tmp_path: Path) -> None:
    rows = [{"a": 1}, {"a": "二"}]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "plain.jsonl").write_text(text, encoding="utf-8")
    with lzma.open(tmp_path / "packed.jsonl.xz", "wt", encoding="utf-8") as file:
        file.write(text)
    assert list(read_jsonl(tmp_path / "plain.jsonl")) == rows
    assert list(read_jsonl(tmp_path / "packed.jsonl.xz")) == rows


@pytest.mark.parametrize(
    ("line", "problem"), [("机密{", "not JSON"), ('["机密"]', "no JSON object")]
)
def test_a_broken_line_is_named_by_number_alone(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"a": 1}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(TrainingDataError, match=rf"broken\.jsonl:2 is {problem}") as caught:
        list(read_jsonl(path))
    assert "机密" not in str(caught.value)


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="EMPATHY_DATA"):
        list(read_jsonl(tmp_path / "none.jsonl.xz"))


def test_groups_without_ids_are_refused(tmp_path: Path) -> None:
    (tmp_path / "smilechat").mkdir()
    with lzma.open(tmp_path / "smilechat" / "groups.jsonl.xz", "wt") as file:
        file.write('{"group": 1, "ids": 7}\n')
    with pytest.raises(TrainingDataError, match="'ids'"):
        smilechat_groups(tmp_path)
