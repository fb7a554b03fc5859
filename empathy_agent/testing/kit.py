"""What the parts of the backend kit share: prompts, greedy requests, and ways to empty a cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from empathy_agent.backends.base import Backend, Completion, Delta, Message, Request
from empathy_agent.config import Sampling
from empathy_agent.segments import LAYER_OPEN, NEWLINE, THINK_OPEN, Segment, control

POST = "最近他总是很晚才回消息，我一个人在宿舍里胡思乱想，总觉得他不爱我了。"
OTHER_POST = "考试又没考好，爸妈什么都没说，可我晚上一直睡不着，觉得对不起他们。"
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, repeat_penalty=1.0, seed=0)
CHUNK_TOKENS = 128
"""The longest stretch of prompt that may still be computed after a cancel."""


class Kit:
    """Base of the kit's parts; a subclass gives the `backend` fixture."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """Yield an open backend, fresh for each test."""
        raise NotImplementedError("give a fixture `backend` that yields an open backend")

    def prompt(self, backend: Backend, post: str = POST) -> tuple[Segment, ...]:
        """Return the prompt of the first layer for `post`."""
        rendered = backend.render([Message("system", "你是倾听者。"), Message("user", post)])
        opening = (control(THINK_OPEN), NEWLINE, control(LAYER_OPEN["emotion"]))
        return backend.pin((*rendered, *opening))

    def exactly(self, segments: tuple[Segment, ...], count: int) -> Request:
        """Return a greedy request for `count` tokens, neither more nor fewer."""
        return Request(segments, (), count, GREEDY, min_new_tokens=count)

    def forget(self, backend: Backend) -> None:
        """Push every cached prefix out by filling all sequences with other text."""
        for index in range(backend.capabilities.parallel_sequences + 1):
            filler = (Segment(f"{index}" * 40),)
            backend.complete(self.exactly(filler, 1))

    def computed(self, backend: Backend) -> int:
        """Return the backend's count of computed tokens; skip the test where it has none."""
        count = backend.evaluated_tokens
        if count is None:
            pytest.skip("the backend does not count what it computes")
        return count

    def collect(self, backend: Backend, request: Request) -> tuple[list[Delta], Completion]:
        """Return the deltas and the completion of a stream, which must come last and once."""
        *deltas, last = backend.stream(request)
        assert isinstance(last, Completion)
        assert all(isinstance(one, Delta) for one in deltas)
        return [one for one in deltas if isinstance(one, Delta)], last

    def stop_within(self, text: str) -> str:
        """Return two characters from the later half of `text`, to be used as a stop string."""
        for start in range(len(text) // 2, len(text) - 1):
            stop = text[start : start + 2]
            if "\ufffd" not in stop and not stop.isspace():
                return stop
        pytest.skip("the model wrote nothing that could serve as a stop string")


def without_limits(request: Request) -> Request:
    """Return `request` without its deadline and cancel event."""
    return replace(request, deadline=None, cancel=None)
