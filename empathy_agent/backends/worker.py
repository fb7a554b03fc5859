"""The one thread that owns a model, and the queue in front of it.

A backend gives the worker an `Engine`; `submit` puts a job into the inbox and returns. The loop
admits waiting jobs in order of arrival as far as the engine has room — requests whose session
holds a slot first, so that a chain under way never waits behind a new one — then lets the engine
compute one batch over the active jobs. Between batches it looks at cancel events, deadlines and
the inbox, so nothing waits longer than one batch. The queue is bounded: beyond it a new request is
refused at once with `BackendBusy`. The worker knows nothing of its backend, which can therefore be
collected while the thread is alive.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from empathy_agent.backends.requests import Completion, Event, Request, Sink
from empathy_agent.errors import (
    BackendBusy,
    BackendCancelled,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    EmpathyAgentError,
    boundary,
)

MAX_WAITING = 256
"""Requests that may wait for room before further ones are refused."""
_HELD_POLL_S = 0.01


class Run(Protocol):
    """One admitted request inside an engine."""

    def end(self) -> None:
        """Give the run's resources back; called exactly once, however the run ended."""


Outcome = Sequence[Event] | Exception
"""What a batch brought one job: events, of which a `Completion` ends it, or what went wrong."""


class Engine(Protocol):
    """What the worker drives; all but `is_held` is called from the worker's thread."""

    def admit(self, job: Job) -> Run | None:
        """Start a job, or return None while there is no room for it."""

    def step(self, jobs: Sequence[Job]) -> Sequence[tuple[Job, Outcome]]:
        """Compute one batch for some of the active `jobs`, at least for one."""

    def is_held(self, session: str | None) -> bool:
        """Return whether resources are kept for the next request of `session`."""

    def close(self) -> None:
        """Free the model."""


@dataclass(eq=False)
class Job:
    """A request with its sink, from the inbox to its end."""

    request: Request
    sink: Sink
    closing: threading.Event
    run: Run | None = None

    def is_interrupted(self) -> bool:
        """Return whether the job should stop now; cheap enough to ask from inside a computation."""
        return self.problem() is not None

    def problem(self) -> BackendError | None:
        """Return why the job must end early, or None."""
        request = self.request
        if request.cancel is not None and request.cancel.is_set():
            return BackendCancelled("the request was cancelled")
        if request.deadline is not None and time.monotonic() >= request.deadline:
            return BackendTimeout(
                "the deadline passed before the model was done; allow more time or fewer tokens"
            )
        if self.closing.is_set():
            return BackendUnavailable("the backend was closed while the request was running")
        return None

    def send(self, item: Event | BaseException) -> bool:
        """Hand `item` to the sink; False where the sink broke its contract and raised."""
        try:
            self.sink(item)
        except (
            BaseException
        ):  # a cancelled task's error is no `Exception`, and must not end the thread
            return False
        return True


class Worker:
    """Runs an engine in a daemon thread until `close`."""

    def __init__(self, engine: Engine, name: str, *, max_waiting: int = MAX_WAITING) -> None:
        self._engine = engine
        self._max_waiting = max_waiting
        self._inbox: SimpleQueue[Job | Callable[[], None] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._active: list[Job] = []
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def submit(self, request: Request, sink: Sink) -> None:
        """Queue `request` and return at once."""
        with self._lock:
            if self._closing.is_set():
                raise BackendUnavailable("the backend is closed; open a new one")
            # A chain under way is finished: refusing its next layer would waste the others.
            is_full = self._inbox.qsize() + len(self._waiting) >= self._max_waiting
            if is_full and not self._engine.is_held(request.session):
                raise BackendBusy(
                    f"{self._max_waiting} requests wait for the model already; come back later"
                )
            self._inbox.put(Job(request, sink, self._closing))

    def call(self, action: Callable[[], None]) -> None:
        """Run `action`, which must not raise, in the worker's thread before any later request."""
        with self._lock:
            if not self._closing.is_set():
                self._inbox.put(action)

    def close(self) -> None:
        """End all jobs, free the engine and wait for the thread."""
        with self._lock:
            self._closing.set()
            self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _loop(self) -> None:
        try:
            while not self._closing.is_set():
                self._collect()
                if self._waiting:
                    self._admit()
                self._sweep()
                if self._active:
                    self._step()
        finally:
            with self._lock:
                self._closing.set()
            self._collect()
            for job in (*self._active, *self._waiting):
                self._finish(job, job.problem())
            self._engine.close()

    def _collect(self) -> None:
        """Take in what is new; block while there is nothing else to do."""
        while (item := self._next_item()) is not None:
            if isinstance(item, Job):
                self._waiting.append(item)
            else:
                item()

    def _next_item(self) -> Job | Callable[[], None] | None:
        """Return an item of the inbox, or None when it is time to go on with the others."""
        if self._active or self._closing.is_set():
            timeout: float | None = 0.0
        else:  # who waits beside nobody waits for a slot that is kept, which nobody tells of
            timeout = _HELD_POLL_S if self._waiting else None
        try:
            return self._inbox.get(timeout=timeout) if timeout != 0 else self._inbox.get_nowait()
        except Empty:
            return None

    def _admit(self) -> None:
        for job in tuple(self._waiting):
            if (problem := job.problem()) is not None:
                self._waiting.remove(job)
                self._finish(job, problem)
        held = [job for job in self._waiting if self._engine.is_held(job.request.session)]
        for job in held:
            self._start(job)
        while self._waiting and self._start(self._waiting[0]):
            pass

    def _start(self, job: Job) -> bool:
        """Admit a waiting job; return whether it waits no longer."""
        try:
            job.run = self._engine.admit(job)
        except Exception as error:
            self._waiting.remove(job)
            self._finish(job, _classified(error, "starting the request"))
            return True
        if job.run is None:
            return False
        self._waiting.remove(job)
        self._active.append(job)
        return True

    def _sweep(self) -> None:
        for job in tuple(self._active):
            if (problem := job.problem()) is not None:
                self._finish(job, problem)

    def _step(self) -> None:
        for job, outcome in self._engine.step(tuple(self._active)):
            if isinstance(outcome, Exception):
                self._finish(job, _classified(outcome, "running the model"))
                continue
            for event in outcome:
                if isinstance(event, Completion):
                    self._finish(job, event)
                elif not job.send(event):
                    self._finish(job, None)
                    break

    def _finish(self, job: Job, item: Event | BaseException | None) -> None:
        """Give the run back, then send the last item: a follow-up finds its cache idle."""
        if job in self._active:
            self._active.remove(job)
        if job.run is not None:
            job.run.end()
            job.run = None
        if item is not None:
            job.send(item)


def _classified(error: Exception, what: str) -> EmpathyAgentError:
    """Return an error of ours for `error`: the same one, or one that tells nothing of its text."""
    try:
        with boundary(BackendError, what):
            raise error
    except EmpathyAgentError as classified:
        classified.__cause__ = classified.__context__ = None
        return classified
