"""What the parts of the backend kit share: prompts, requests, skips, and ways to wait for an end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from time import monotonic

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.requests import Completion, Delta, Event, Message, Request
from empathy_agent.config import Sampling
from empathy_agent.segments import (
    ANSWER_OPEN,
    LAYER_OPEN,
    NEWLINE,
    THINK_OPEN,
    Segment,
    control,
)

POST = "最近他总是很晚才回消息，我一个人在宿舍里胡思乱想，总觉得他不爱我了。"
OTHER_POST = "考试又没考好，爸妈什么都没说，可我晚上一直睡不着，觉得对不起他们。"
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, repeat_penalty=1.0, seed=0)
CHUNK_TOKENS = 128
"""The longest stretch of prompt that may still be computed after a cancel."""
END_BOUND_S = 1.0
"""The longest time from a cancel, a deadline or `close` to the last event, on a loaded machine."""
PATIENCE_S = 60.0
"""After this long without an end, a request is taken to hang."""

Events = SimpleQueue[Event | BaseException]

_MISSING = {
    "batch_invariant": "requests share batches, which may round differently",
    "continues": "the model is asked in words and continues no text",
    "control_tags": "tags are no control tokens here: `escape` guards them",
    "exact_borders": "the text is tokenised in one piece",
    "ids": "the backend takes and returns text, no token ids",
    "prefix_cache": "the backend keeps no prefix, or cannot tell which",
    "rollback": "the cache cannot be set back",
}


class Kit:
    """Base of the kit's parts; a subclass gives the `backend` fixture."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """Yield an open backend, fresh for each test."""
        raise NotImplementedError("give a fixture `backend` that yields an open backend")

    @pytest.fixture
    def crowded(self) -> Iterator[Backend]:
        """Yield one with a single sequence and a queue for two, where the backend has such."""
        pytest.skip("the tests open no backend with a short queue")

    def needs(self, backend: Backend, *capabilities: str) -> None:
        """Skip the test where the backend does not claim one of these."""
        for name in capabilities:
            if not getattr(backend.capabilities, name):
                pytest.skip(_MISSING[name])

    def computed(self, backend: Backend) -> int:
        """Return the backend's count of computed tokens; skip the test where it has none."""
        count = backend.evaluated_tokens
        if count is None:
            pytest.skip("the backend does not count what it computes")
        return count

    def prompt(self, backend: Backend, post: str = POST) -> tuple[Segment, ...]:
        """Return the prompt of the first layer for `post`."""
        opening = (control(THINK_OPEN), NEWLINE, control(LAYER_OPEN["emotion"]))
        return backend.pin((*self.rendered(backend, post), *opening))

    def rendered(self, backend: Backend, post: str) -> tuple[Segment, ...]:
        """Return a conversation with one post, up to the assistant's turn."""
        return backend.render([Message("system", "你是倾听者。"), Message("user", post)])

    def exactly(self, segments: tuple[Segment, ...], count: int) -> Request:
        """Return a greedy request for `count` tokens; at most so many without `min_tokens`."""
        return Request(segments, (), count, GREEDY, min_new_tokens=count)

    def long(self, backend: Backend, post: str = POST) -> Request:
        """Return a request that fits the context and takes a while."""
        if not backend.capabilities.continues:
            return self.exactly((*self.rendered(backend, post), control(ANSWER_OPEN)), 400)
        prompt = self.prompt(backend, post)
        return self.exactly(
            prompt, min(400, backend.context_size - backend.count_tokens(prompt) - 8)
        )

    def many(self, backend: Backend) -> int:
        """Return how many requests fill all sequences; 8 where there are more."""
        return min(backend.capabilities.parallel_sequences, 8)

    def forget(self, backend: Backend) -> None:
        """Push every cached prefix out by filling all sequences with other text."""
        if backend.capabilities.prefix_cache:
            for index in range(backend.capabilities.parallel_sequences + 1):
                backend.complete(self.exactly((Segment(f"{index}" * 40),), 1))

    def begin(self, backend: Backend, request: Request) -> Events:
        """Submit `request`; return the queue of its events."""
        events: Events = SimpleQueue()
        backend.submit(request, events.put)
        return events

    def end(self, events: Events, within_s: float = PATIENCE_S) -> Completion | BaseException:
        """Return the last of the events, which must come within that time; the deltas add up."""
        limit, text = monotonic() + within_s, ""
        try:
            while isinstance(item := events.get(timeout=max(0.0, limit - monotonic())), Delta):
                text += item.text
        except Empty:
            pytest.fail(f"the request did not end within {within_s:g} s")
        assert not isinstance(item, Completion) or item.text == text
        return item

    def completion(self, events: Events) -> Completion:
        """Return the completion at the end of the events; raise what came instead."""
        item = self.end(events)
        if isinstance(item, BaseException):
            raise item
        return item

    def together(self, backend: Backend, requests: Sequence[Request]) -> list[Completion]:
        """Submit all requests at once and return their completions."""
        queues = [self.begin(backend, request) for request in requests]
        return [self.completion(events) for events in queues]

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
