"""The one thread that owns a model, and the queue in front of it.

A backend gives the worker an `Engine`; `submit` puts a job into the inbox and returns. The loop
admits waiting jobs in order of arrival as far as the engine has room, then gives every active job
one step in turn: a chunk of prompt or one token. Between steps it looks at cancel events,
deadlines and the inbox, so nothing waits longer than one step. The worker knows nothing of its
backend, which can therefore be collected while the thread is alive. Today a step is one job's; an
engine that computes several jobs in one batch would take the list of active jobs instead.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from empathy_agent.backends.base import Completion, Event, Request, Sink
from empathy_agent.errors import (
    BackendCancelled,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    EmpathyAgentError,
    boundary,
)


class Run(Protocol):
    """One admitted request inside an engine."""

    def step(self) -> Sequence[Event]:
        """Compute a chunk of prompt or one token; a `Completion` ends the run."""

    def end(self) -> None:
        """Give the run's resources back; called exactly once, however the run ended."""


class Engine(Protocol):
    """What the worker drives; every method is called from the worker's thread."""

    def admit(self, job: Job) -> Run | None:
        """Start a job, or return None while there is no room for it."""

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
        except Exception:  # whatever it says may quote the text it was given
            return False
        return True


class Worker:
    """Runs an engine in a daemon thread until `close`."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
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
                for job in tuple(self._active):
                    self._advance(job)
        finally:
            with self._lock:
                self._closing.set()
            self._collect()
            for job in (*self._active, *self._waiting):
                self._finish(job, job.problem())
            self._engine.close()

    def _collect(self) -> None:
        """Take in what is new; block only while there is nothing else to do."""
        is_idle = not (self._waiting or self._active or self._closing.is_set())
        while is_idle or not self._inbox.empty():
            item = self._inbox.get()
            is_idle = False
            if isinstance(item, Job):
                self._waiting.append(item)
            elif item is not None:
                item()

    def _admit(self) -> None:
        for job in tuple(self._waiting):
            if (problem := job.problem()) is not None:
                self._waiting.remove(job)
                self._finish(job, problem)
        while self._waiting:
            job = self._waiting[0]
            try:
                job.run = self._engine.admit(job)
            except Exception as error:
                self._waiting.popleft()
                self._finish(job, _classified(error, "starting the request"))
                continue
            if job.run is None:
                return
            self._active.append(self._waiting.popleft())

    def _advance(self, job: Job) -> None:
        if (problem := job.problem()) is not None:
            self._finish(job, problem)
            return
        assert job.run is not None  # admitted jobs have one
        try:
            events = job.run.step()
        except Exception as error:
            self._finish(job, _classified(error, "running the model"))
            return
        for event in events:
            if isinstance(event, Completion):
                self._finish(job, event)
            elif not job.send(event):
                self._finish(job, None)
                return

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
