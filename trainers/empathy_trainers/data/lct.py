"""Long counselling texts out of dialogues: one long post, one long reply, and their split.

SmileChat v2 was made by cutting a post and its answer into turns. `build_lct` goes the other way:
the seeker's turns become one post, the supporter's turns one reply, and what only lives in a
conversation (thanks, assent, greetings, questions that the post already answers) falls away.
`iter_lct` streams the records of one split in file order. Splits go by group, see `splits`;
`heldout_ids` is offered again here for stage 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

from typing_extensions import TypedDict

from empathy_agent.chain import Record
from empathy_agent.errors import TrainingDataError
from empathy_trainers.data.splits import Split, heldout_ids, read_jsonl, smilechat_groups, split_of
from empathy_trainers.weak.screening import clean_seeker, clean_supporter
from empathy_trainers.weak.sentences import distinct, sentences

__all__ = ["LctAnswer", "LctRecord", "LongText", "Message", "build_lct", "heldout_ids", "iter_lct"]

POST_CHARS: Final = (100, 900)
ANSWER_CHARS: Final = (120, 700)
SOURCE: Final = "smilechat"
LICENCE: Final = "CC0-1.0"
_SPACE: Final = re.compile(r"\s+")
_REPEATED: Final = re.compile(r"([。，！？、；])(?:\1|[，、])+")
_END: Final = "。！？!?…；;”"


class Message(TypedDict):
    """One turn as the corpus has it."""

    role: str
    content: str


class LongText(NamedTuple):
    """One post and the reply to it."""

    post: str
    answer: str


class LctAnswer(Record):
    """One reply."""

    text: str


class LctRecord(Record):
    """One record of counselling data."""

    id: str
    source: str
    licence: str
    lang: str = "zh"
    topic: str | None = None
    question: str
    answers: tuple[LctAnswer, ...]


def build_lct(messages: Sequence[Message]) -> LongText | None:
    """Fold a dialogue into one long post and one long reply.

    Turns of one role in a row count as one, empty turns as none.

    Returns:
        The pair, or None if too little is left on either side.
    """
    turns = _turns(messages)
    first = next((i for i, (role, _) in enumerate(turns) if role == "user"), None)
    if first is None:
        return None
    post: list[str] = []
    answer: list[str] = []
    for index, (role, text) in enumerate(turns):
        for sentence in sentences(text):
            if role == "user":
                kept = clean_seeker(sentence, first=index == first)
                if kept:
                    post.append(kept)
            elif kept := clean_supporter(sentence):
                answer.append(kept)
    return _fit(post, answer)


def iter_lct(data_dir: Path, split: Split) -> Iterator[LctRecord]:
    """Yield the long counselling texts of one split, in file order, without exact repeats.

    Raises:
        TrainingDataError: A file is missing or broken, or a dialogue has no group.
    """
    groups = smilechat_groups(data_dir)
    seen: set[int] = set()
    for row in read_jsonl(data_dir / "smilechat" / "smilechat.jsonl.xz"):
        dialogue_id, messages = _checked(row)
        if dialogue_id not in groups:
            raise TrainingDataError(
                f"smilechat: dialogue {dialogue_id} has no group; mend groups.jsonl.xz"
            )
        if split_of(groups[dialogue_id]) != split:
            continue
        text = build_lct(messages)
        if text is None or hash(text) in seen:
            continue
        seen.add(hash(text))
        yield LctRecord(
            id=f"{SOURCE}-{dialogue_id}",
            source=SOURCE,
            licence=LICENCE,
            question=text.post,
            answers=(LctAnswer(text=text.answer),),
        )


def _checked(row: Mapping[str, object]) -> tuple[int, list[Message]]:
    dialogue_id, messages = row.get("id"), row.get("messages")
    if not isinstance(dialogue_id, int) or not isinstance(messages, list):
        raise TrainingDataError("smilechat: a row lacks an integer 'id' or a list 'messages'")
    if not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in messages
    ):
        raise TrainingDataError(
            f"smilechat: dialogue {dialogue_id} has a turn without role or text"
        )
    return dialogue_id, cast("list[Message]", messages)  # every turn was checked above


def _turns(messages: Sequence[Message]) -> list[tuple[str, str]]:
    merged: list[tuple[str, str]] = []
    for message in messages:
        text = _tidy(message["content"])
        if not text:
            continue
        if merged and merged[-1][0] == message["role"]:
            merged[-1] = (message["role"], _closed(merged[-1][1]) + text)
        else:
            merged.append((message["role"], text))
    return merged


def _tidy(text: str) -> str:
    """Normalise blanks, runs of marks and the quotation marks that layers use themselves."""
    text = _SPACE.sub(lambda m: "\n" if "\n" in m.group() else " ", text.strip())
    text = re.sub(r"(?<=[^\x00-\x7f]) | (?=[^\x00-\x7f])", "，", text).replace("，，", "，")
    text = text.replace("「", "“").replace("」", "”").replace("<", "＜").replace(">", "＞")
    return _REPEATED.sub(r"\1", text)


def _closed(text: str) -> str:
    return text if text[-1] in _END else text.rstrip("，,、：:") + "。"


def _fit(post: Sequence[str], answer: Sequence[str]) -> LongText | None:
    post_text = _join(post, POST_CHARS[1])
    answer_text = _join(answer, ANSWER_CHARS[1])
    if len(post_text) < POST_CHARS[0] or len(answer_text) < ANSWER_CHARS[0]:
        return None
    return LongText(post_text, answer_text)


def _join(pieces: Sequence[str], limit: int) -> str:
    """Join whole sentences up to `limit` characters."""
    text = ""
    for piece in distinct(pieces):
        closed = _closed(piece)
        if len(text) + len(closed) > limit:
            break
        text += closed
    return text
