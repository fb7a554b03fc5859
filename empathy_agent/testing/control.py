"""The kit's part on endings: cancel, deadline, abandonment, close."""

# ruff: noqa: D102 - the name of a test says what it checks
from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.requests import Completion, Delta, Event, Message
from empathy_agent.errors import BackendBusy, BackendCancelled, BackendTimeout, BackendUnavailable
from empathy_agent.testing.kit import CHUNK_TOKENS, END_BOUND_S, OTHER_POST, Events, Kit


class ControlKit(Kit):
    """Checks that a request ends when it should, and quickly."""

    def check_it_stopped(self, backend: Backend, before: int | None) -> None:
        """Check that the backend serves again, and computed next to nothing since `before`."""
        # Long enough that what runs on beside it would show.
        probe = self.completion(self.begin(backend, self.exactly(self.prompt(backend), 16)))
        if before is not None:
            assert self.computed(backend) - before - probe.usage.evaluated_tokens <= 2

    @contextmanager
    def full(self, backend: Backend) -> Iterator[None]:
        """Fill all sequences with long requests."""
        cancel = threading.Event()
        request = replace(self.long(backend, OTHER_POST), cancel=cancel)
        running = [self.begin(backend, request) for _ in range(self.many(backend))]
        try:
            yield
        finally:
            cancel.set()
        for events in running:
            self.end(events)

    def test_closing_a_stream_ends_it_within_one_token(self, backend: Backend) -> None:
        stream = backend.stream(self.long(backend))
        next(stream)
        stream.close()
        self.check_it_stopped(backend, backend.evaluated_tokens)

    def test_an_abandoned_stream_ends_too(self, backend: Backend) -> None:
        stream = backend.stream(self.long(backend))
        next(stream)
        del stream
        gc.collect()
        self.check_it_stopped(backend, backend.evaluated_tokens)

    def test_cancelling_a_task_ends_its_stream_within_one_token(self, backend: Backend) -> None:
        async def cancel() -> int | None:
            started = asyncio.Event()

            async def consume() -> None:
                async for _ in backend.astream(self.long(backend)):
                    started.set()

            task = asyncio.create_task(consume())
            await started.wait()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(task, END_BOUND_S)
            return backend.evaluated_tokens

        self.check_it_stopped(backend, asyncio.run(cancel()))

    def test_a_cancel_event_ends_a_request_at_once(self, backend: Backend) -> None:
        cancel = threading.Event()
        events = self.begin(backend, replace(self.long(backend), cancel=cancel))
        assert isinstance(events.get(timeout=60), Delta)
        cancel.set()
        assert isinstance(self.end(events, END_BOUND_S), BackendCancelled)
        self.check_it_stopped(backend, None)

    def test_a_finished_request_leaves_the_callers_event_alone(self, backend: Backend) -> None:
        cancel = threading.Event()
        backend.complete(replace(self.exactly(self.prompt(backend), 2), cancel=cancel))
        assert not cancel.is_set()

    def test_a_cancel_ends_a_prompt_within_one_chunk(self, backend: Backend) -> None:
        self.needs(backend, "continues")
        before = self.computed(backend)
        post, room = "我很难过。", backend.context_size * 3 // 4
        count = backend.count_tokens(backend.render([Message("user", post)]))
        messages = [Message("user", post * max(1, room // max(1, count)))]
        cancel = threading.Event()
        request = self.exactly(backend.render(messages), 1)
        events = self.begin(backend, replace(request, cancel=cancel))
        while self.computed(backend) == before:
            time.sleep(0.0005)
        cancel.set()
        seen = self.computed(backend)
        assert isinstance(self.end(events), BackendCancelled | Completion)
        assert self.computed(backend) - seen <= CHUNK_TOKENS + 1

    def test_a_passed_deadline_raises_before_anything_is_computed(self, backend: Backend) -> None:
        before = backend.evaluated_tokens
        request = self.exactly(self.prompt(backend), 4)
        with pytest.raises(BackendTimeout) as caught:
            backend.complete(replace(request, deadline=time.monotonic() - 1))
        assert caught.value.retryable
        assert backend.evaluated_tokens == before

    def test_a_deadline_ends_a_running_request_at_once(self, backend: Backend) -> None:
        request = replace(self.long(backend), deadline=time.monotonic() + 0.002)
        assert isinstance(self.end(self.begin(backend, request), END_BOUND_S), BackendTimeout)
        self.check_it_stopped(backend, None)

    def test_a_waiting_request_hears_of_its_deadline(self, backend: Backend) -> None:
        request = replace(self.long(backend), deadline=time.monotonic() + 0.02)
        with self.full(backend):
            assert isinstance(self.end(self.begin(backend, request), END_BOUND_S), BackendTimeout)
        self.check_it_stopped(backend, None)

    def test_a_waiting_request_hears_of_its_cancel(self, backend: Backend) -> None:
        cancel = threading.Event()
        with self.full(backend):
            events = self.begin(backend, replace(self.long(backend), cancel=cancel))
            cancel.set()
            assert isinstance(self.end(events, END_BOUND_S), BackendCancelled)
        self.check_it_stopped(backend, None)

    def test_what_is_too_much_is_refused_and_the_rest_served(self, crowded: Backend) -> None:
        accepted: list[Events] = []
        refused: list[BackendBusy] = []
        cancel = threading.Event()
        request = replace(self.long(crowded), cancel=cancel)
        for _ in range(8):
            try:
                accepted.append(self.begin(crowded, request))
            except BackendBusy as error:
                refused.append(error)
        assert refused
        assert all(error.retryable for error in refused)
        assert len(accepted) >= 2
        cancel.set()
        for events in accepted:
            assert isinstance(self.end(events), BackendCancelled)
        self.check_it_stopped(crowded, None)

    def test_a_request_after_an_ended_one_is_unharmed(self, backend: Backend) -> None:
        request = self.exactly(self.prompt(backend), 12)
        expected = backend.complete(request)
        stream = backend.stream(self.long(backend))
        next(stream)
        stream.close()
        after = backend.complete(request)
        assert (after.text, after.ids) == (expected.text, expected.ids)

    def test_a_sink_that_raises_gives_its_sequence_back(self, backend: Backend) -> None:
        ended = threading.Semaphore(0)

        def broken(item: Event | BaseException) -> None:
            ended.release()
            raise ValueError("a sink must not raise, but this one does")

        for _ in range(self.many(backend)):
            backend.submit(self.long(backend), broken)
            assert ended.acquire(timeout=60)
        request = self.exactly(self.prompt(backend), 4)
        completions = self.together(backend, [request] * self.many(backend))
        assert all(one.text for one in completions)

    def test_close_ends_what_runs_and_may_be_repeated(self, backend: Backend) -> None:
        prompt = self.prompt(backend)
        events = self.begin(backend, self.long(backend))
        assert isinstance(events.get(timeout=60), Delta)
        backend.close()
        backend.close()
        assert backend.closed
        assert isinstance(self.end(events, END_BOUND_S), BackendUnavailable)
        with pytest.raises(BackendUnavailable):
            backend.complete(self.exactly(prompt, 1))
