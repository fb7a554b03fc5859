"""A chat as the nodes hold it, on any system: four layers and the answer, each request going on from the one before.

`Chat` is the work (token ids of the prompt and of the tags), `hold` does it on a `System` and keeps the times of all
tokens. The token counts are fixed and the end is banned, so that every system and every chat does the same work. Each
chat has a post of its own, after a system prompt that all share.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from bench.cases import ANSWER_TOKENS, LAYER_TOKENS, TOTAL_TOKENS
from empathy_agent.backends.base import Backend
from empathy_agent.backends.requests import Message
from empathy_agent.segments import (
    ANSWER_OPEN,
    LAYER_CLOSE,
    LAYER_OPEN,
    NEWLINE,
    THINK_CLOSE,
    THINK_OPEN,
    Segment,
    control,
)
from empathy_agent.vocabulary import LAYERS

POST_TOKENS = 250
SYSTEM_PROMPT = (
    "你是一位温和的倾听者。先读懂对方此刻的感受和处境，再看这些感受从哪里来，背后有什么想法，"
    "然后想一想对方现在最想得到的是什么：被听见、被理解、被认可，还是一点建议。最后用平实的话回应，"
    "不评判，不说教，不下诊断，不替对方做决定，也不承诺你做不到的事。"
)
_CLAUSES = (
    "最近总是睡不好",
    "半夜醒来就再也睡不着",
    "白天上班没有精神",
    "他很晚才回我的消息",
    "我不知道该不该去问",
    "和室友说话也觉得累",
    "妈妈打电话来只问成绩",
    "我不敢告诉她实话",
    "同事都比我做得快",
    "领导昨天又改了要求",
    "周末只想一个人待着",
    "以前喜欢的事也提不起劲",
    "晚饭常常随便吃两口",
    "朋友约我我总是推掉",
    "推掉以后又觉得后悔",
    "钱也快不够用了",
)


@dataclass(frozen=True)
class Part:
    """One request of a chat."""

    opening: tuple[int, ...]
    """What the node writes before it."""
    count: int
    """How many tokens the model writes."""


@dataclass(frozen=True)
class Chat:
    """What one chat computes."""

    prompt: tuple[int, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class End:
    """The counts at the end of a stream, as the system reports them."""

    generated: int
    computed: int
    """Tokens of the prompt that came from no cache."""


class System(Protocol):
    """What the chats are held on."""

    label: str

    def begin(self) -> None:
        """Bring the system to where a run starts: idle, the system prompt cached."""

    def generate(
        self, ids: list[int], count: int, *, session: str, keep: bool, seed: int
    ) -> Iterator[Sequence[int] | End]:
        """Stream `count` tokens after `ids`, some at a time, and end with the counts."""

    def chat(self, session: str) -> AbstractContextManager[object]:
        """Return a context that is entered around a whole chat."""

    def resident(self) -> int | None:
        """Return the memory of the process that holds the model, in bytes."""


@dataclass
class Times:
    """When the tokens of one chat came, in seconds since its start."""

    first_s: float = 0.0
    answer_first_s: float = 0.0
    total_s: float = 0.0
    gaps_s: list[float] = field(default_factory=list)
    """Between the tokens of one request."""
    prompt_tokens: int = 0
    computed_tokens: int = 0


class ChatMaker:
    """Makes chats for one model.

    Args:
        backend: Any backend over the model that takes ids.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.system_ids = self._ids(backend.render([Message("system", SYSTEM_PROMPT)]))
        before: tuple[Segment, ...] = (control(THINK_OPEN), NEWLINE)
        parts = []
        for layer in LAYERS:
            opening = (*before, control(LAYER_OPEN[layer]))
            parts.append(Part(self._ids(opening), LAYER_TOKENS[layer]))
            before = (control(LAYER_CLOSE[layer]), NEWLINE)
        opening = (*before, control(THINK_CLOSE), NEWLINE, control(ANSWER_OPEN))
        self._parts = (*parts, Part(self._ids(opening), ANSWER_TOKENS))

    def chat(self, seed: int) -> Chat:
        """Return the chat of this seed; no two have a post in common."""
        draw, post = random.Random(seed), f"{seed}，"
        while self._backend.count_tokens((Segment(post),)) < POST_TOKENS:
            post += draw.choice(_CLAUSES) + "，"
        messages = [Message("system", SYSTEM_PROMPT), Message("user", post)]
        return Chat(self._ids(self._backend.render(messages)), self._parts)

    @property
    def chat_tokens(self) -> int:
        """Tokens that a chat holds at its end."""
        openings = sum(len(part.opening) for part in self._parts)
        return len(self.chat(0).prompt) + openings + TOTAL_TOKENS

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Return the ids of a content text."""
        return self._ids((Segment(text),))

    def _ids(self, segments: Sequence[Segment]) -> tuple[int, ...]:
        return tuple(token for one in self._backend.pin(segments) for token in one.ids or ())


def hold(system: System, chat: Chat, session: str, seed: int) -> Times:
    """Hold one chat and return when its tokens came."""
    times, ids = Times(), list(chat.prompt)
    started = time.perf_counter()
    with system.chat(session):
        for index, part in enumerate(chat.parts):
            ids += part.opening
            is_last = index == len(chat.parts) - 1
            times.prompt_tokens += len(ids)
            last: float | None = None
            for item in system.generate(
                ids.copy(), part.count, session=session, keep=not is_last, seed=seed
            ):
                if isinstance(item, End):
                    times.computed_tokens += item.computed
                    if item.generated != part.count:
                        raise RuntimeError(f"{system.label} wrote {item.generated} tokens")
                    continue
                now = time.perf_counter()
                if last is not None:
                    times.gaps_s.append(now - last)
                elif index == 0:
                    times.first_s = now - started
                elif is_last:
                    times.answer_first_s = now - started
                last = now
                ids += item
    times.total_s = time.perf_counter() - started
    return times
