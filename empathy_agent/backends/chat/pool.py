"""Runs requests in threads of their own, without ever letting a caller wait for a provider that hangs.

One thread owns the queue: it starts waiting requests as long as few enough run, and looks at cancel events and
deadlines every few milliseconds. A request whose time is over ends at once for its caller; the thread that is still
inside the provider's code goes on unheard until that returns, and its place is given away, though never more than
twice as many threads run as calls may. What is under way in a chain is neither refused nor queued behind new ones.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Final

from empathy_agent.backends.chat.faults import classified
from empathy_agent.backends.requests import Completion, Delta, Request, Sink
from empathy_agent.backends.worker import Job
from empathy_agent.errors import BackendBusy, BackendUnavailable

_POLL_S: Final = 0.01
_THREADS_PER_CALL: Final = 2


class Call:
    """A request under way; what comes after its end is dropped."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lock = threading.Lock()
        self.is_over = False

    @property
    def request(self) -> Request:
        """What is asked for."""
        return self._job.request

    def check(self) -> None:
        """Raise the error that must end the request now, if any."""
        problem = self._job.problem()
        if problem is not None:
            raise problem

    def send(self, text: str) -> bool:
        """Pass a piece of text on; False where nobody hears it any more."""
        with self._lock:
            if not self.is_over and text and not self._job.send(Delta(text)):
                self.is_over = True
            return not self.is_over

    def end(self, item: Completion | BaseException) -> None:
        """Pass the end on, once."""
        with self._lock:
            if not self.is_over:
                self.is_over = True
                self._job.send(item)

    def end_if_interrupted(self) -> None:
        """End the request if it was cancelled, its deadline passed or the backend was closed."""
        problem = self._job.problem()
        if problem is not None:
            self.end(problem)


class Pool:
    """Runs calls until `close`.

    Args:
        work: Returns a call's completion or raises; run in an empty context.
        name: Of the threads.
        max_parallel: How many calls run at once.
        max_waiting: How many more may wait.
    """

    def __init__(
        self, work: Callable[[Call], Completion], name: str, max_parallel: int, max_waiting: int
    ) -> None:
        self._work = work
        self._name = name
        self._max_parallel, self._max_waiting = max_parallel, max_waiting
        self._inbox: SimpleQueue[tuple[Call, bool] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._waiting: deque[Call] = deque()
        self._running: list[Call] = []
        self._count = 0
        """How many calls wait, in the inbox or behind it; the lock's."""
        self._threads = 0
        """How many threads are inside a call, heard or not; the lock's."""
        threading.Thread(target=self._loop, name=name, daemon=True).start()

    def submit(self, request: Request, sink: Sink, *, is_under_way: bool) -> None:
        """Queue `request` and return at once.

        Raises:
            BackendUnavailable: The pool is closed.
            BackendBusy: Too many wait, and this one is not part of something under way.
        """
        with self._lock:
            if self._closing.is_set():
                raise BackendUnavailable("the backend is closed; open a new one")
            if self._count >= self._max_waiting and not is_under_way:
                raise BackendBusy(
                    f"{self._max_waiting} requests wait for the model already; come back later"
                )
            self._count += 1
            self._inbox.put((Call(Job(request, sink, self._closing)), is_under_way))

    def close(self) -> None:
        """End all calls for their callers; no thread is waited for."""
        with self._lock:
            self._closing.set()
        self._inbox.put(None)

    def _loop(self) -> None:
        while not self._closing.is_set():
            self._collect()
            for call in (*self._waiting, *self._running):
                call.end_if_interrupted()
            self._forget()
            self._start()
        while not self._inbox.empty():
            self._collect()
        for call in (*self._waiting, *self._running):
            call.end_if_interrupted()

    def _collect(self) -> None:
        """Take in what is new; block while nothing waits and nothing runs."""
        timeout = _POLL_S if self._waiting or self._running else None
        try:
            item = self._inbox.get(timeout=timeout)
            while True:
                if item is not None:
                    call, is_under_way = item
                    (self._waiting.appendleft if is_under_way else self._waiting.append)(call)
                item = self._inbox.get_nowait()
        except Empty:
            return

    def _forget(self) -> None:
        over = [call for call in self._waiting if call.is_over]
        for call in over:
            self._waiting.remove(call)
        self._running = [call for call in self._running if not call.is_over]
        with self._lock:
            self._count -= len(over)

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._max_parallel:
            with self._lock:
                if self._threads >= self._max_parallel * _THREADS_PER_CALL:
                    return
                self._threads += 1
                self._count -= 1
            call = self._waiting.popleft()
            self._running.append(call)
            run = Context().run
            threading.Thread(
                target=run, args=(self._run, call), name=f"{self._name}-call", daemon=True
            ).start()

    def _run(self, call: Call) -> None:
        try:
            call.check()
            item: Completion | BaseException = self._work(call)
        except Exception as error:
            item = classified(error)
            item.__cause__ = item.__context__ = None
        with self._lock:
            self._threads -= 1
        call.end(item)
        self._inbox.put(None)
