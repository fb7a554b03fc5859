"""Endings: a hanging provider never holds a caller, and queues are bounded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest

from empathy_agent.backends.chat import ChatBackend
from empathy_agent.backends.requests import Completion, Event, Message, Request
from empathy_agent.errors import (
    BackendBusy,
    BackendCancelled,
    BackendTimeout,
    BackendUnavailable,
    ContextOverflow,
)
from empathy_agent.segments import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    LAYER_CLOSE,
    LAYER_OPEN,
    Segment,
    control,
)
from empathy_agent.testing.scripted_chat import JsonChatModel, ScriptedChatModel

BOUND_S = 1.0
"""Generous: a loaded machine must not make these fail."""


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def asking(backend: ChatBackend, opening: str = ANSWER_OPEN, **given: Any) -> Request:
    rendered = backend.render([Message("user", "我很难过。")])
    return Request((*rendered, control(opening)), (ANSWER_CLOSE,), **given)


def begin(backend: ChatBackend, request: Request) -> SimpleQueue[Event | BaseException]:
    events: SimpleQueue[Event | BaseException] = SimpleQueue()
    backend.submit(request, events.put)
    return events


def started(model: ScriptedChatModel) -> None:
    assert model.began.acquire(timeout=10)


@pytest.mark.parametrize("opening", [ANSWER_OPEN, LAYER_OPEN["emotion"]])
def test_a_cancel_ends_a_request_whose_provider_hangs(gate: threading.Event, opening: str) -> None:
    model = JsonChatModel(gate=gate)
    with ChatBackend(model) as backend:
        cancel = threading.Event()
        events = begin(backend, asking(backend, opening, cancel=cancel))
        started(model)
        cancel.set()
        assert isinstance(events.get(timeout=BOUND_S), BackendCancelled)


@pytest.mark.parametrize("opening", [ANSWER_OPEN, LAYER_OPEN["emotion"]])
def test_a_deadline_ends_a_request_whose_provider_hangs(
    gate: threading.Event, opening: str
) -> None:
    with ChatBackend(JsonChatModel(gate=gate)) as backend:
        events = begin(backend, asking(backend, opening, deadline=time.monotonic() + 0.05))
        assert isinstance(events.get(timeout=BOUND_S), BackendTimeout)


def test_what_a_hanging_provider_says_at_last_is_not_heard(gate: threading.Event) -> None:
    model = JsonChatModel(gate=gate)
    with ChatBackend(model, max_parallel=1) as backend:
        cancel = threading.Event()
        events = begin(backend, asking(backend, cancel=cancel))
        started(model)
        cancel.set()
        assert isinstance(events.get(timeout=BOUND_S), BackendCancelled)
        gate.set()
        assert backend.complete(asking(backend)).text
        assert events.empty()


def test_a_hanging_call_gives_its_place_away_but_threads_stay_bounded(
    gate: threading.Event,
) -> None:
    model = JsonChatModel(gate=gate)
    with ChatBackend(model, max_parallel=2) as backend:
        for _ in range(4):
            cancel = threading.Event()
            events = begin(backend, asking(backend, cancel=cancel))
            started(model)
            cancel.set()
            assert isinstance(events.get(timeout=BOUND_S), BackendCancelled)
        last = begin(backend, asking(backend, deadline=time.monotonic() + 0.1))
        assert isinstance(last.get(timeout=BOUND_S), BackendTimeout)
        assert len(model.calls) == 4
        gate.set()
        assert backend.complete(asking(backend)).text


def test_too_many_are_refused_unless_their_chain_is_under_way(gate: threading.Event) -> None:
    model = JsonChatModel(gate=gate)
    with ChatBackend(model, max_parallel=1, max_waiting=1) as backend:
        queues = [begin(backend, asking(backend))]
        started(model)
        queues.append(begin(backend, asking(backend)))
        with pytest.raises(BackendBusy):
            backend.submit(asking(backend), queues[0].put)
        layer = (
            control(LAYER_OPEN["emotion"]),
            Segment("焦虑(2)。"),
            control(LAYER_CLOSE["emotion"]),
        )
        request = asking(backend)
        under_way = replace(
            request, segments=(*request.segments[:-1], *layer, control(ANSWER_OPEN))
        )
        queues.append(begin(backend, under_way))
        gate.set()
        for events in queues:
            while not isinstance(item := events.get(timeout=10), Completion):
                assert not isinstance(item, BaseException)
        assert "焦虑(2)。" in model.calls[1].question


def test_closing_ends_what_hangs(gate: threading.Event) -> None:
    model = JsonChatModel(gate=gate)
    backend = ChatBackend(model)
    events = begin(backend, asking(backend))
    started(model)
    backend.close()
    assert isinstance(events.get(timeout=BOUND_S), BackendUnavailable)
    with pytest.raises(BackendUnavailable):
        backend.complete(asking(backend))


def test_leaving_a_stream_closes_the_providers() -> None:
    closed = threading.Event()

    class Watched(ScriptedChatModel):
        def _stream(self, *given: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from super()._stream(*given, **named)
            finally:
                closed.set()

    model = Watched(answer="我在听。" * 200, token_delay_s=0.002)
    with ChatBackend(model) as backend:
        stream = backend.stream(asking(backend, max_new_tokens=2000))
        next(stream)
        stream.close()
        assert closed.wait(timeout=BOUND_S)


async def test_a_cancelled_task_leaves_nobody_waiting(gate: threading.Event) -> None:
    model = JsonChatModel(gate=gate)
    with ChatBackend(model) as backend:
        task = asyncio.create_task(backend.acomplete(asking(backend)))
        await asyncio.to_thread(started, model)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, BOUND_S)


async def test_many_conversations_run_at_once_and_do_not_mix() -> None:
    with ChatBackend(JsonChatModel(call_delay_s=0.01), max_parallel=4) as backend:
        posts = [f"第{index}天，我睡不着" for index in range(12)]

        def answer(post: str) -> Request:
            return Request((*backend.render([Message("user", post)]), control(ANSWER_OPEN)))

        completions = await asyncio.gather(*(backend.acomplete(answer(post)) for post in posts))
    for index, completion in enumerate(completions):
        assert f"第{index}天" in completion.text


def test_what_cannot_fit_overflows_before_any_call() -> None:
    model = JsonChatModel()
    with ChatBackend(model, context_size=2048) as backend, pytest.raises(ContextOverflow):
        backend.complete(
            Request((*backend.render([Message("user", "难" * 2000)]), control(ANSWER_OPEN)))
        )
    assert model.calls == []


def test_the_answer_is_cut_at_its_budget() -> None:
    with ChatBackend(ScriptedChatModel(answer="我在听，你慢慢说。" * 50)) as backend:
        completion = backend.complete(asking(backend, max_new_tokens=20))
    assert (len(completion.text), completion.finish) == (20, "length")


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS"])
def test_a_limit_of_the_provider_is_told(reason: str) -> None:
    model = ScriptedChatModel(response={"finish_reason": reason})
    with ChatBackend(model) as backend:
        assert backend.complete(asking(backend)).finish == "length"
