"""The kit's part on endings: cancel, deadline, abandonment, close."""

# ruff: noqa: D102 - the name of a test says what it checks
from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import suppress
from dataclasses import replace
from queue import SimpleQueue

import pytest

from empathy_agent.backends.base import Backend, Completion, Event, Message
from empathy_agent.errors import BackendCancelled, BackendTimeout, BackendUnavailable
from empathy_agent.testing.kit import CHUNK_TOKENS, Kit


class ControlKit(Kit):
    """Checks that a request ends when it should, and quickly."""

    def overrun(self, backend: Backend, before: int) -> int:
        """Return what was computed since `before`, less what the call that waits for it costs."""
        probe = backend.complete(self.exactly(self.prompt(backend), 1))
        return self.computed(backend) - before - probe.usage.evaluated_tokens

    def long_count(self, backend: Backend) -> int:
        """Return a number of tokens that takes a while and fits the context."""
        return min(400, backend.context_size - backend.count_tokens(self.prompt(backend)) - 8)

    def test_closing_a_stream_ends_generation_within_one_token(self, backend: Backend) -> None:
        request = self.exactly(self.prompt(backend), self.long_count(backend))
        stream = backend.stream(request)
        next(stream)
        stream.close()
        assert self.overrun(backend, self.computed(backend)) <= 2

    def test_an_abandoned_stream_ends_too(self, backend: Backend) -> None:
        request = self.exactly(self.prompt(backend), self.long_count(backend))
        stream = backend.stream(request)
        next(stream)
        del stream
        gc.collect()
        assert self.overrun(backend, self.computed(backend)) <= 2

    def test_cancelling_a_task_ends_generation_within_one_token(self, backend: Backend) -> None:
        request = self.exactly(self.prompt(backend), self.long_count(backend))

        async def cancel() -> int:
            started = asyncio.Event()

            async def consume() -> None:
                async for _ in backend.astream(request):
                    started.set()

            task = asyncio.create_task(consume())
            await started.wait()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            return self.computed(backend)

        assert self.overrun(backend, asyncio.run(cancel())) <= 2

    def test_a_cancel_event_raises(self, backend: Backend) -> None:
        cancel = threading.Event()
        request = self.exactly(self.prompt(backend), self.long_count(backend))
        stream = backend.stream(replace(request, cancel=cancel))
        next(stream)
        cancel.set()
        with pytest.raises(BackendCancelled):
            list(stream)

    def test_a_finished_request_leaves_the_callers_event_alone(self, backend: Backend) -> None:
        cancel = threading.Event()
        backend.complete(replace(self.exactly(self.prompt(backend), 2), cancel=cancel))
        assert not cancel.is_set()

    def test_a_cancel_ends_a_prompt_within_one_chunk(self, backend: Backend) -> None:
        before = self.computed(backend)
        post, room = "我很难过。", backend.context_size * 3 // 4
        repeated = max(1, room // max(1, backend.count_tokens(backend.render([_user(post)]))))
        cancel = threading.Event()
        request = self.exactly(backend.render([_user(post * repeated)]), 1)
        events: SimpleQueue[Event | BaseException] = SimpleQueue()
        backend.submit(replace(request, cancel=cancel), events.put)
        while self.computed(backend) == before:
            time.sleep(0.0005)
        cancel.set()
        seen = self.computed(backend)
        while not isinstance(last := events.get(timeout=60), Completion | BaseException):
            pass
        assert isinstance(last, BackendCancelled | Completion)
        assert self.computed(backend) - seen <= CHUNK_TOKENS + 1

    def test_a_passed_deadline_raises_before_anything_is_computed(self, backend: Backend) -> None:
        before = self.computed(backend)
        request = self.exactly(self.prompt(backend), 4)
        with pytest.raises(BackendTimeout) as caught:
            backend.complete(replace(request, deadline=time.monotonic() - 1))
        assert caught.value.retryable
        assert self.computed(backend) == before

    def test_a_deadline_ends_a_running_request(self, backend: Backend) -> None:
        request = self.exactly(self.prompt(backend), self.long_count(backend))
        stream = backend.stream(replace(request, deadline=time.monotonic() + 0.002))
        with pytest.raises(BackendTimeout):
            list(stream)

    def test_a_request_after_an_ended_one_is_unharmed(self, backend: Backend) -> None:
        request = self.exactly(self.prompt(backend), 12)
        expected = backend.complete(request)
        stream = backend.stream(self.exactly(self.prompt(backend), self.long_count(backend)))
        next(stream)
        stream.close()
        assert backend.complete(request).ids == expected.ids

    def test_close_ends_what_runs_and_may_be_repeated(self, backend: Backend) -> None:
        stream = backend.stream(self.exactly(self.prompt(backend), self.long_count(backend)))
        next(stream)
        prompt = self.prompt(backend)
        backend.close()
        backend.close()
        assert backend.closed
        with pytest.raises(BackendUnavailable):
            list(stream)
        with pytest.raises(BackendUnavailable):
            backend.complete(self.exactly(prompt, 1))


def _user(post: str) -> Message:
    return Message("user", post)
