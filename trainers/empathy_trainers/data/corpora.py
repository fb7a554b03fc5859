"""Readers of the open corpora that stage 0 learns the language from: each row becomes one document of messages.

A document is a list of `(role, text)`; `role` None means plain text. SmileChat dialogues of which the id is odd are
folded into one long post and one long reply, the form that the later stages work on. Licences and origins of all
sources are in the recipe and go into the model card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from empathy_agent.errors import TrainingDataError
from empathy_trainers.data.splits import heldout_ids, read_jsonl

Document = list[tuple[str | None, str]]
Row = dict[str, object]


def _dialogue(row: Row) -> Document:
    merged: Document = []
    for message in cast("list[dict[str, str]]", row["messages"]):
        role, text = message["role"], message["content"].strip()
        if not text:
            continue
        if merged and merged[-1][0] == role:
            merged[-1] = (role, merged[-1][1] + "\n" + text)
        else:
            merged.append((role, text))
    return merged


def _fold(document: Document) -> Document:
    sides = {side: "".join(t for r, t in document if r == side) for side in ("user", "assistant")}
    return [(side, text) for side, text in sides.items() if text]


def _smilechat(row: Row) -> Document:
    dialogue = _dialogue(row)
    return _fold(dialogue) if int(cast("int", row["id"])) % 2 else dialogue


def _ask(question: str, answer: str) -> Callable[[Row], Document]:
    def read(row: Row) -> Document:
        pair = [("user", str(row.get(question) or "")), ("assistant", str(row.get(answer) or ""))]
        return [(role, text) for role, text in pair] if all(text for _, text in pair) else []

    return read


def _plain(key: str) -> Callable[[Row], Document]:
    return lambda row: [(None, str(row.get(key) or ""))]


READERS: dict[str, Callable[[Row], Document]] = {
    "smilechat/smilechat": _smilechat,
    "smilechat_v1/smilechat_v1_smile": _smilechat,
    "smilechat_v1/smilechat_v1_smile_cot": _smilechat,
    "smilechat_v1/smilechat_v1_plain": _dialogue,
    "cpsycoun/cpsycound": _dialogue,
    "emollm/emollm_data": _dialogue,
    "mdd5k/mdd5k": _dialogue,
    "kdconv_zh/kdconv_dev_test_zh": _dialogue,
    "crosswoz_zh/crosswoz_val_test_zh": _dialogue,
    "oasst_zh/oasst1_zh_sft": _ask("instruction", "output"),
    "dpo_zh/dpo_zh": _ask("prompt", "chosen"),
    "cpsyexam/cpsyexam_qa": _ask("question", "answer"),
    "common_voice_zh/common_voice_zh": _plain("text"),
    "howto_zh/howto_zh": _plain("text"),
}
"""How each source of the data folder is read, by its path below it."""


def iter_documents(data_dir: Path, source: str) -> Iterator[Document]:
    """Yield the documents of one source, without the SmileChat groups held out for testing.

    Raises:
        TrainingDataError: The source is unknown or its file is missing or broken.
    """
    if source not in READERS:
        raise TrainingDataError(
            f"unknown source {source!r}; known are: {', '.join(sorted(READERS))}"
        )
    held_out = heldout_ids(data_dir) if source.startswith("smilechat") else frozenset()
    for row in read_jsonl(data_dir / f"{source}.jsonl.xz"):
        if row.get("id") in held_out:
            continue
        document = READERS[source](row)
        if document:
            yield document


def iter_heldout(data_dir: Path) -> Iterator[Document]:
    """Yield the SmileChat v2 dialogues held out from all training, for the perplexity of stage 0."""
    held_out = heldout_ids(data_dir)
    for row in read_jsonl(data_dir / "smilechat" / "smilechat.jsonl.xz"):
        if row.get("id") in held_out:
            yield _smilechat(row)
