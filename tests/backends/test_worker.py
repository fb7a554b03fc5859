"""The worker: turns, endings, foreign exceptions."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

import pytest

from empathy_agent.backends.requests import Completion, Delta, Request
from empathy_agent.backends.worker import Job, Outcome, Worker
from empathy_agent.chain import Usage
from empathy_agent.errors import (
    BackendBusy,
    BackendCancelled,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
)
from empathy_agent.segments import Segment

_DONE = Completion("", (), "stop", Usage(), "x")


@dataclass
class _Run:
    engine: _Engine
    job: Job
    steps: int = 0

    def end(self) -> None:
        self.engine.ended += 1


@dataclass
class _Engine:
    length: int = 3
    room: int = 2
    before_step: Callable[[], object] = lambda: None
    order: list[str] = field(default_factory=list)
    runs: list[_Run] = field(default_factory=list)
    ended: int = 0
    is_closed: bool = False

    def admit(self, job: Job) -> _Run | None:
        if len(self.runs) - self.ended >= self.room:
            return None
        self.runs.append(_Run(self, job))
        return self.runs[-1]

    def step(self, jobs: Sequence[Job]) -> Sequence[tuple[Job, Outcome]]:
        try:
            self.before_step()
        except Exception as error:
            return [(job, error) for job in jobs]
        outcomes: list[tuple[Job, Outcome]] = []
        for job in jobs:
            run = job.run
            assert isinstance(run, _Run)
            run.steps += 1
            self.order.append(job.request.segments[0].text)
            outcomes.append((job, (_DONE,) if run.steps == self.length else (Delta("."),)))
        return outcomes

    def is_held(self, session: str | None) -> bool:
        return session == "held"

    def close(self) -> None:
        self.is_closed = True


def _request(name: str = "a", **options: object) -> Request:
    return Request((Segment(name),), **options)  # type: ignore[arg-type]


def _submit(worker: Worker, request: Request) -> SimpleQueue[Delta | Completion | BaseException]:
    queue: SimpleQueue[Delta | Completion | BaseException] = SimpleQueue()
    worker.submit(request, queue.put)
    return queue


def _last(
    queue: SimpleQueue[Delta | Completion | BaseException],
) -> Completion | BaseException:
    while isinstance(item := queue.get(timeout=10), Delta):
        pass
    return item


def test_active_requests_take_turns_and_others_wait_in_order() -> None:
    gate = threading.Event()
    engine = _Engine(before_step=lambda: gate.wait(10))
    worker = Worker(engine, "test")
    queues = [_submit(worker, _request(name)) for name in "abc"]
    time.sleep(0.05)
    gate.set()
    assert [_last(queue) for queue in queues] == [_DONE] * 3
    worker.close()
    assert "".join(engine.order) in {
        "aababbcbcc",
        "ababbccc",
        "abababccc",
        "aababbccc",
        "aabbabccc",
    }
    assert engine.order.index("c") >= 5
    assert engine.is_closed


def test_a_foreign_exception_arrives_without_its_text() -> None:
    def fail() -> None:
        raise KeyError("桔梗")

    engine = _Engine(before_step=fail)
    worker = Worker(engine, "test")
    error = _last(_submit(worker, _request()))
    assert isinstance(error, BackendError)
    assert "桔梗" not in str(error)
    assert error.__cause__ is error.__context__ is None
    assert engine.ended == 1
    engine.before_step = lambda: None
    assert _last(_submit(worker, _request())) is _DONE, "the worker lives on"
    worker.close()


def test_a_fault_while_admitting_ends_only_that_request() -> None:
    class Refusing(_Engine):
        def admit(self, job: Job) -> _Run | None:
            if job.request.segments[0].text == "bad":
                raise RuntimeError("桔梗")
            return super().admit(job)

    worker = Worker(Refusing(), "test")
    bad, good = _submit(worker, _request("bad")), _submit(worker, _request("good"))
    assert isinstance(_last(bad), BackendError)
    assert _last(good) is _DONE
    worker.close()


@pytest.mark.parametrize("error", [ValueError("a broken sink"), asyncio.CancelledError()])
def test_a_sink_that_raises_loses_its_request_and_harms_no_other(error: BaseException) -> None:
    engine = _Engine(length=50)
    worker = Worker(engine, "test")

    def sink(item: object) -> None:
        raise error

    worker.submit(_request("broken"), sink)
    assert _last(_submit(worker, _request("fine"))) is _DONE
    worker.close()
    assert engine.order.count("broken") == 1


def test_waiting_requests_hear_of_cancel_and_deadline() -> None:
    gate, cancel = threading.Event(), threading.Event()
    engine = _Engine(room=1, length=2, before_step=lambda: gate.wait(10))
    worker = Worker(engine, "test")
    running = _submit(worker, _request("a"))
    cancelled = _submit(worker, _request("b", cancel=cancel))
    late = _submit(worker, _request("c", deadline=time.monotonic()))
    cancel.set()
    gate.set()
    assert isinstance(_last(cancelled), BackendCancelled)
    assert isinstance(_last(late), BackendTimeout)
    assert _last(running) is _DONE
    worker.close()
    assert set(engine.order) == {"a"}


def test_close_ends_running_and_waiting_requests_and_refuses_new_ones() -> None:
    started = threading.Event()
    engine = _Engine(room=1, length=10**9, before_step=started.set)
    worker = Worker(engine, "test")
    queues = [_submit(worker, _request(name)) for name in "ab"]
    assert started.wait(10)
    worker.close()
    worker.close()
    assert all(isinstance(_last(queue), BackendUnavailable) for queue in queues)
    assert engine.ended == 1
    with pytest.raises(BackendUnavailable):
        worker.submit(_request(), lambda item: None)
    worker.call(started.clear)
    assert started.is_set(), "a closed worker runs nothing"


def test_calls_run_in_the_workers_thread() -> None:
    worker = Worker(_Engine(), "the worker")
    names: SimpleQueue[str] = SimpleQueue()
    worker.call(lambda: names.put(threading.current_thread().name))
    assert names.get(timeout=10) == "the worker"
    worker.close()


def test_close_from_the_workers_own_thread_does_not_hang() -> None:
    engine = _Engine()
    worker = Worker(engine, "test")
    worker.call(worker.close)
    deadline = time.monotonic() + 10
    while not engine.is_closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.is_closed


def test_a_full_queue_refuses_new_requests_but_no_chain_under_way() -> None:
    gate = threading.Event()
    engine = _Engine(room=1, length=1, before_step=lambda: gate.wait(10))
    worker = Worker(engine, "test", max_waiting=2)
    running = _submit(worker, _request("a"))
    while not engine.runs:
        time.sleep(0.001)
    waiting = [_submit(worker, _request(name)) for name in "bc"]
    with pytest.raises(BackendBusy) as caught:
        worker.submit(_request("d"), lambda item: None)
    assert caught.value.retryable
    held = _submit(worker, _request("h", session="held"))
    gate.set()
    assert [_last(queue) for queue in (running, *waiting, held)] == [_DONE] * 4
    worker.close()
    assert engine.order == ["a", "h", "b", "c"], "who continues a chain goes first"


def test_a_request_that_waits_for_a_kept_slot_gets_it_when_it_is_free() -> None:
    engine = _Engine(room=0, length=1)
    worker = Worker(engine, "test")
    queue = _submit(worker, _request("a"))
    time.sleep(0.05)
    engine.room = 1  # nobody tells the worker: it looks by itself
    assert _last(queue) is _DONE
    worker.close()
