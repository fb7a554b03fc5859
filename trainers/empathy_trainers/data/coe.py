"""Chain-of-Empathy records as token ids: the SFT text is the serving text, to the token.

A record becomes the prompt that a backend would render for its post, then the segments of
`render_chain`, each tokenised apart with specials off for contents, then the end of the turn.
`write_sequences` does so once per split and keeps the ids in one compact file: one record of every
group of dialogues first, then the second ones, so that a small budget sees many different posts.
Nothing is truncated; what is longer than the block is left out and counted.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from empathy_agent.backends.chat_template import render_segments
from empathy_agent.backends.requests import Message
from empathy_agent.errors import TrainingDataError
from empathy_agent.segments import LAYER_TAGS, Segment, control, escape
from empathy_agent.transcript import render_chain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Record = Mapping[str, object]
WINDOW_BATCHES: Final = 64
"""Batches within which records are sorted by length: padding falls, the order stays mixed."""


@dataclass(frozen=True)
class EncodedRecord:
    """One training text."""

    ids: list[int]
    prompt: int
    """Number of leading ids that are the prompt; `<empathy_think>` is the id after them."""


class CoeEncoder:
    """Turns records into ids with the tokenizer of one model."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if tokenizer.eos_token is None:
            raise TrainingDataError("the tokenizer has no end token; set eos_token")
        self._core = tokenizer.backend_tokenizer
        self._control: dict[str, list[int]] = {}
        self._specials = tuple(tokenizer.all_special_tokens)
        self._end = control(tokenizer.eos_token)
        self._frame = render_segments(
            lambda messages: str(
                tokenizer.apply_chat_template(
                    [dict(message) for message in messages],
                    tokenize=False,
                    add_generation_prompt=True,
                )
            ),
            [Message("user", "post")],
        )

    def prompt(self, post: str) -> list[Segment]:
        """Return what a backend renders for `post` as the only message, escaped as it escapes."""
        text = escape(post, self._specials)
        return [one if one.control else Segment(text) for one in self._frame]

    def segments(self, record: Record) -> tuple[list[Segment], list[Segment]]:
        """Return prompt and completion of a record.

        Raises:
            TrainingDataError: The record lacks a part; the message names it by its id alone.
        """
        try:
            chain = cast("Mapping[str, str]", record["chain"])
            layers = {name: chain[tag] for name, tag in LAYER_TAGS.items()}
            answer = cast("Sequence[Mapping[str, str]]", record["answers"])[0]["text"]
            post = str(record["question"])
        except (KeyError, IndexError, TypeError):
            name = repr(record.get("id"))
            raise TrainingDataError(f"record {name} is no CoE record; annotate it first") from None
        return self.prompt(post), [*render_chain(layers, answer), self._end]

    def encode(self, record: Record) -> EncodedRecord:
        """Return the ids of a record."""
        prompt, completion = self.segments(record)
        ids = self.ids(prompt)
        return EncodedRecord([*ids, *self.ids(completion)], len(ids))

    def ids(self, segments: Iterable[Segment]) -> list[int]:
        """Return the ids of segments, each tokenised apart."""
        found: list[int] = []
        for segment in segments:
            found += self._ids_of(segment)
        return found

    def _ids_of(self, segment: Segment) -> list[int]:
        if segment.control:
            if segment.text not in self._control:
                self._control[segment.text] = self._encode(segment.text, specials_off=False)
            return self._control[segment.text]
        return self._encode(segment.text, specials_off=True)

    def _encode(self, text: str, *, specials_off: bool) -> list[int]:
        self._core.encode_special_tokens = specials_off
        try:
            ids: list[int] = self._core.encode(text, add_special_tokens=False).ids
            return ids
        finally:
            self._core.encode_special_tokens = False


class Sequences:
    """The encoded records of one split, in the order in which a small budget takes them.

    Args:
        path: A file of `write_sequences`; its report lies beside it.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self.ids: NDArray[np.uint16] = arrays["ids"]
            self.lengths: NDArray[np.int64] = arrays["lengths"].astype(np.int64)
            self.prompts: NDArray[np.int64] = arrays["prompts"].astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self.report: dict[str, object] = json.loads(report_path(path).read_text(encoding="utf-8"))
        if not len(self.lengths):
            raise TrainingDataError(f"{path.name} holds no sequence; see {report_path(path).name}")

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return `input_ids` and `completion_mask` of one sequence, both `(length,)`."""
        ids = self.ids[self._starts[index] : self._starts[index + 1]].astype(np.int64)
        return ids, np.arange(len(ids)) >= self.prompts[index]

    def batch_order(self, batch: int, seed: int) -> list[int]:
        """Return all indices so that each run of `batch` holds sequences of about one length.

        Only windows of `WINDOW_BATCHES` batches are sorted and their batches shuffled, hence the
        diverse beginning stays the beginning. What is left over makes the last, smaller batch.
        """
        draw, order = random.Random(seed), []
        for start in range(0, len(self), window := batch * WINDOW_BATCHES):
            rows = range(start, min(start + window, len(self)))
            by_length = sorted(rows, key=lambda row: int(self.lengths[row]))
            batches = [by_length[at : at + batch] for at in range(0, len(by_length), batch)]
            rest = [batches.pop()] if len(batches[-1]) < batch else []
            draw.shuffle(batches)
            order += [row for one in (*batches, *rest) for row in one]
        return order


def report_path(path: Path) -> Path:
    """Return where the report of a sequence file lies."""
    return path.with_suffix(".json")


def one_per_group_first(groups: Sequence[Hashable], seed: int) -> list[int]:
    """Return indices: first members of all groups, then second ones, each round shuffled."""
    draw = random.Random(seed)
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    rounds: defaultdict[int, list[int]] = defaultdict(list)
    for one in members.values():
        draw.shuffle(one)
        for number, index in enumerate(one):
            rounds[number].append(index)
    order = []
    for number in sorted(rounds):
        draw.shuffle(rounds[number])
        order += rounds[number]
    return order


def write_sequences(
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerFast,
    path: Path,
    *,
    block: int,
    seed: int,
    group_of: Mapping[str, Hashable] | None = None,
    limit: int | None = None,
) -> dict[str, object]:
    """Encode `records` into `path`, order them, and return the report, which lies beside it.

    Args:
        records: CoE records.
        tokenizer: The tokenizer of the model to train.
        path: The file to write, `.npz`.
        block: The most tokens of a sequence; longer ones are left out and counted.
        seed: Of the order.
        group_of: The group of each record id; a record without one is its own group.
        limit: The most sequences to keep, after ordering.
    """
    if len(tokenizer) > np.iinfo(np.uint16).max:
        raise TrainingDataError(f"a vocabulary of {len(tokenizer)} ids does not fit uint16")
    encoder = CoeEncoder(tokenizer)
    encoded: list[tuple[NDArray[np.uint16], int]] = []
    groups: list[Hashable] = []
    terms: list[tuple[str, str, str]] = []
    too_long = 0
    for record in records:
        one = encoder.encode(record)
        if len(one.ids) > block:
            too_long += 1
            continue
        encoded.append((np.asarray(one.ids, dtype=np.uint16), one.prompt))
        name = str(record["id"])
        groups.append((group_of or {}).get(name, name))
        terms.append((str(record["source"]), str(record["licence"]), str(record["annotator"])))
    order = one_per_group_first(groups, seed)[:limit]
    report: dict[str, object] = {
        "sequences": len(order),
        "groups": len({groups[index] for index in order}),
        "left_out_too_long": too_long,
        "left_out_by_limit": len(encoded) - len(order),
        "block": block,
        "tokens": sum(len(encoded[index][0]) for index in order),
        "prompt_tokens": sum(encoded[index][1] for index in order),
        "terms": [
            {"source": source, "licence": licence, "annotator": annotator, "sequences": count}
            for (source, licence, annotator), count in Counter(terms[i] for i in order).items()
        ],
    }
    _save(path, [encoded[index] for index in order], report)
    return report


def _save(
    path: Path, rows: Sequence[tuple[NDArray[np.uint16], int]], report: Mapping[str, object]
) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            ids=np.concatenate([np.zeros(0, np.uint16), *(ids for ids, _ in rows)]),
            lengths=np.asarray([len(ids) for ids, _ in rows], dtype=np.int32),
            prompts=np.asarray([prompt for _, prompt in rows], dtype=np.int32),
        )
    report_path(path).write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)
