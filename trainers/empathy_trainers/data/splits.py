"""Leak-free splits of SmileChat: whole groups of dialogues that share one source post go to one side.

The group decides by hash, so that a split needs no stored list, never changes when records are added, and stage 0 can
leave out exactly the dialogues that later stages are tested on. SmileChat v1 numbers its dialogues by the same source
posts, so the same ids are held out there.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

from empathy_agent.errors import TrainingDataError

Split = Literal["train", "valid", "test"]

HELD_OUT_PER_MILLE = 20
"""Thousandths of the groups in each of `valid` and `test`."""


def split_of(group: int) -> Split:
    """Return the split of a SmileChat group."""
    draw = int.from_bytes(hashlib.sha256(f"smilechat:{group}".encode()).digest()[:4]) % 1000
    if draw < HELD_OUT_PER_MILLE:
        return "test"
    return "valid" if draw < 2 * HELD_OUT_PER_MILLE else "train"


def read_jsonl(path: Path) -> Iterator[dict[str, object]]:
    """Yield the objects of a plain or xz-compressed JSONL file.

    Raises:
        TrainingDataError: The file is missing, or a line is no JSON object; the line is named by number alone.
    """
    if not path.is_file():
        raise TrainingDataError(
            f"{path.name!r} is not in the data folder; set EMPATHY_DATA or data_dir to it"
        )
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError:
                raise TrainingDataError(
                    f"{path.name}:{number} is not JSON; mend or remove that line"
                ) from None
            if not isinstance(row, dict):
                raise TrainingDataError(
                    f"{path.name}:{number} is no JSON object; mend or remove that line"
                )
            yield row


@lru_cache(maxsize=4)
def smilechat_groups(data_dir: Path) -> dict[int, int]:
    """Map each SmileChat dialogue id to its group."""
    table: dict[int, int] = {}
    for row in read_jsonl(data_dir / "smilechat" / "groups.jsonl.xz"):
        group, ids = row.get("group"), row.get("ids")
        if not isinstance(group, int) or not isinstance(ids, list):
            raise TrainingDataError(
                "smilechat/groups: a row lacks an integer 'group' or a list 'ids'"
            )
        table.update(dict.fromkeys((int(i) for i in ids), group))
    return table


def heldout_ids(data_dir: Path) -> frozenset[int]:
    """Return the SmileChat ids (v2, and v1 by the same numbers) that no training stage may see."""
    return frozenset(
        i for i, group in smilechat_groups(data_dir).items() if split_of(group) != "train"
    )
