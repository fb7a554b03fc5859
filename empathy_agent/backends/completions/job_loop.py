"""A daemon thread with an event loop that serves jobs side by side and ends them on time.

`submit` only counts and hands over. A job runs as a task; one watcher looks at the cancel events
and deadlines of all jobs every few milliseconds, reports the end to the sink first and then cancels
the task, so that a slow connection never delays the answer to a cancel. Nothing here refers to the
backend, which can therefore be collected while the thread is alive.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from empathy_agent.backends.requests import Completion, Request, Sink
from empathy_agent.backends.worker import Job
from empathy_agent.errors import (
    BackendBusy,
    BackendError,
    BackendUnavailable,
    EmpathyAgentError,
    boundary,
)

_WATCH_S = 0.01
_Result = TypeVar("_Result")


class JobLoop:
    """Runs `serve` for every job until `close`.

    Args:
        name: The thread's name.
        serve: Computes a job's completion; deltas go to `Job.send`.
        release: Called once, in the loop, after all jobs have ended.
        max_parallel: Jobs that are served at once.
        max_waiting: Jobs that may wait beside them.
    """

    def __init__(
        self,
        name: str,
        serve: Callable[[Job], Awaitable[Completion]],
        release: Callable[[], Awaitable[None]],
        *,
        max_parallel: int,
        max_waiting: int,
    ) -> None:
        self._serve, self._release = serve, release
        self._slots = asyncio.Semaphore(max_parallel)
        self._max_waiting = max_waiting
        self._room = max_parallel + max_waiting
        self._inside = 0
        self._sessions: set[str] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name=name, daemon=True)
        self._thread.start()

    def submit(self, request: Request, sink: Sink) -> None:
        """Queue `request` and return at once.

        Raises:
            BackendUnavailable: The backend is closed.
            BackendBusy: Too many requests wait already.
        """
        with self._lock:
            if self._closing.is_set():
                raise BackendUnavailable("the backend is closed; open a new one")
            # A chain under way is finished: refusing its next layer would waste the others.
            if self._inside >= self._room and request.session not in self._sessions:
                raise BackendBusy(
                    f"{self._max_waiting} requests wait for the server already; come back later"
                )
            self._remember(request)
            self._inside += 1
            self._loop.call_soon_threadsafe(self._start, Job(request, sink, self._closing))

    def _remember(self, request: Request) -> None:
        if request.session is None:
            return
        if not request.keep:
            self._sessions.discard(request.session)
        elif len(self._sessions) < 4 * self._room:  # chains that were abandoned stay in it
            self._sessions.add(request.session)

    def call(self, ask: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """Run `ask` in the loop and wait for its result.

        Raises:
            BackendUnavailable: The backend is closed, or is being closed.
        """
        with self._lock:
            if self._closing.is_set():
                raise BackendUnavailable("the backend is closed; open a new one")
            future = asyncio.run_coroutine_threadsafe(ask(), self._loop)
        try:
            return future.result()
        except CancelledError:
            pass
        raise BackendUnavailable("the backend was closed while the server was asked")

    def close(self) -> None:
        """End all jobs, close the connections and wait for the thread."""
        with self._lock:
            if not self._closing.is_set():
                self._closing.set()
                self._loop.call_soon_threadsafe(self._begin_end)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            # What httpx leaves behind of an answer that was broken off ends here, not in silence.
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    def _start(self, job: Job) -> None:
        task = self._tasks[job] = self._loop.create_task(self._run(job))
        task.add_done_callback(self._leave)
        if self._watcher is None or self._watcher.done():
            self._watcher = self._loop.create_task(self._watch())

    def _leave(self, _: asyncio.Task[None]) -> None:
        with self._lock:
            self._inside -= 1

    async def _run(self, job: Job) -> None:
        item: Completion | EmpathyAgentError
        try:
            if (problem := job.problem()) is not None:
                raise problem
            async with self._slots:
                with boundary(BackendError, "asking the server"):
                    item = await self._serve(job)
        except EmpathyAgentError as error:
            error.__cause__ = error.__context__ = None
            item = error
        self._end(job, item)

    async def _watch(self) -> None:
        while self._tasks:
            for job, task in tuple(self._tasks.items()):
                if (problem := job.problem()) is not None:
                    self._end(job, problem)
                    task.cancel()
            await asyncio.sleep(_WATCH_S)

    def _end(self, job: Job, item: Completion | BaseException) -> None:
        """Report the end of `job`, once."""
        if self._tasks.pop(job, None) is not None:
            job.send(item)

    def _begin_end(self) -> None:
        self._ending = self._loop.create_task(self._end_all())

    async def _end_all(self) -> None:
        for job in tuple(self._tasks):
            self._end(job, job.problem() or BackendUnavailable("the backend was closed"))
        try:
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await self._release()
        finally:
            self._loop.stop()
