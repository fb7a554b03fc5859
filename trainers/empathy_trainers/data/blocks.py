"""Pretraining blocks: documents, tokenised turn by turn and packed end to end into one file of uint16 ids.

Built once per tokenizer and recipe, then mapped into memory: a run that resumes reads the same blocks in the same
order, and nothing is tokenised twice. Sources are given in tiers; documents are shuffled within a tier and tiers
follow each other, so that the best data come first when the budget is short.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Dataset

from empathy_agent.errors import TrainingDataError
from empathy_trainers.data.corpora import Document, iter_documents
from empathy_trainers.tokenizer import END_OF_TEXT, TURN_END, TURN_START, token_id

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

CHUNK_DOCUMENTS = 2000


def tier_documents(data_dir: Path, tiers: Sequence[Sequence[str]], seed: int) -> Iterator[Document]:
    """Yield all documents, tier after tier, each tier shuffled by `seed`."""
    for number, sources in enumerate(tiers):
        documents = [
            document for source in sources for document in iter_documents(data_dir, source)
        ]
        random.Random(seed + number).shuffle(documents)
        yield from documents


def encode_documents(
    documents: Iterable[Document], tokenizer: PreTrainedTokenizerFast
) -> Iterator[np.ndarray[tuple[int], np.dtype[np.uint16]]]:
    """Yield the ids of each document, shape `(tokens,)`, specials never read from the text itself."""
    start, end, stop = (token_id(tokenizer, t) for t in (TURN_START, TURN_END, END_OF_TEXT))
    core = tokenizer.backend_tokenizer
    core.encode_special_tokens = True
    try:
        headers = {
            role: core.encode(f"{role}\n", add_special_tokens=False).ids
            for role in ("system", "user", "assistant")
        }
        newline = core.encode("\n", add_special_tokens=False).ids
        iterator = iter(documents)
        while batch := list(islice(iterator, CHUNK_DOCUMENTS)):
            encodings = iter(
                core.encode_batch([t for d in batch for _, t in d], add_special_tokens=False)
            )
            for document in batch:
                ids: list[int] = []
                for role, _ in document:
                    content = next(encodings).ids
                    ids += (
                        content
                        if role is None
                        else [start, *headers[role], *content, end, *newline]
                    )
                yield np.asarray([*ids, stop], dtype=np.uint16)
    finally:
        core.encode_special_tokens = False


def write_blocks(
    documents: Iterable[Document], tokenizer: PreTrainedTokenizerFast, path: Path
) -> int:
    """Write the ids of all documents end to end to `path` and return their number."""
    if len(tokenizer) > np.iinfo(np.uint16).max:
        raise TrainingDataError(
            f"a vocabulary of {len(tokenizer)} ids does not fit uint16 blocks; lower vocab_size"
        )
    partial = path.with_suffix(".partial")
    total = 0
    with partial.open("wb") as file:
        for ids in encode_documents(documents, tokenizer):
            file.write(ids.tobytes())
            total += len(ids)
    partial.replace(path)
    return total


class BlockDataset(Dataset[dict[str, "torch.Tensor"]]):
    """Blocks of `length` ids over a file written by `write_blocks`; item: `input_ids`, int64, `(length,)`."""

    def __init__(self, path: Path, length: int, limit: int | None = None, skip: int = 0) -> None:
        self.ids = np.memmap(path, dtype=np.uint16, mode="r")[skip * length :]
        self.length = length
        whole = len(self.ids) // length
        self.blocks = min(whole, limit) if limit is not None else whole
        if not self.blocks:
            raise TrainingDataError(
                f"{path.name} holds {len(self.ids)} ids, fewer than one block of {length}"
            )

    def __len__(self) -> int:
        """Return the number of whole blocks."""
        return self.blocks

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return one block."""
        import torch

        start = index * self.length
        return {
            "input_ids": torch.from_numpy(self.ids[start : start + self.length].astype(np.int64))
        }
