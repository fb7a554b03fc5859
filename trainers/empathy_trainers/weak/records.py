"""The records of stage 1: long counselling texts of one split with weak chains."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from empathy_trainers.data.lct import iter_lct
from empathy_trainers.data.splits import Split
from empathy_trainers.weak.annotate import ANNOTATOR, annotate
from empathy_trainers.weak.phrasing import topic_of
from empathy_trainers.weak.screening import speaks_of_death


def build_sft_records(
    data_dir: Path, split: Split, limit: int | None = None
) -> Iterator[dict[str, object]]:
    """Yield records: those of `iter_lct` with `topic`, `chain{L1..L4}` and `annotator`.

    Posts that speak of death, self-harm or sexual violence are left out: their replies in the
    corpus are not vetted for it.

    Args:
        data_dir: The folder of the open corpora.
        split: Which side of the group split.
        limit: The most records to yield; None for all.

    Raises:
        TrainingDataError: A file is missing or broken.
    """
    yield from islice(_all(data_dir, split), limit)


def _all(data_dir: Path, split: Split) -> Iterator[dict[str, object]]:
    for record in iter_lct(data_dir, split):
        if speaks_of_death(record.question):
            continue
        layers = annotate(record.question, record.answers[0].text, record.id)
        if layers is None:
            continue
        row = record.model_dump(mode="json")
        row["topic"] = topic_of(record.question)
        yield {**row, "chain": layers.as_dict(), "annotator": ANNOTATOR}
