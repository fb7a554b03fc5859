"""The contract between the graph and a model: continue these segments until a stop string.

A caller builds a `Request` and reads `Delta`s, then one `Completion`, from `stream` or `astream`;
`complete` and `acomplete` keep only the last. A backend author writes `submit`, which must not
block: it hands the request to the thread that owns the model and reports to a sink. The sync and
the async face are written here once, over `submit`. Leaving a stream early, in whatever way,
cancels the request within one token; a deadline or a cancel event of the caller's ends it with
`BackendTimeout` or `BackendCancelled`. No error carries text of the prompt or the completion.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from empathy_agent.backends.requests import (
    Capabilities,
    Completion,
    Delta,
    Event,
    Message,
    Request,
    Sink,
)
from empathy_agent.errors import BackendError
from empathy_agent.segments import Segment


class LinkedEvent(threading.Event):
    """An event that also counts as set while its parent is; setting it leaves the parent alone."""

    def __init__(self, parent: threading.Event | None) -> None:
        super().__init__()
        self._parent = parent

    def is_set(self) -> bool:
        """Return whether this event or its parent is set."""
        return super().is_set() or (self._parent is not None and self._parent.is_set())


class Backend(ABC):
    """A model that continues segments; a context manager, closed any number of times."""

    _finalizer: weakref.finalize[[], Backend] | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """The model's name, as replies report it."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the tokenizer: ids are reused only where it is the same."""

    @property
    @abstractmethod
    def context_size(self) -> int:
        """How many tokens prompt and completion may have together."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this backend promises."""

    @property
    @abstractmethod
    def special_strings(self) -> tuple[str, ...]:
        """The special strings of the vocabulary, for `segments.escape`."""

    @property
    def evaluated_tokens(self) -> int | None:
        """Tokens computed since the backend was opened; None where that is not known."""
        return None

    @abstractmethod
    def render(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Apply the chat template once, up to the opening of the assistant's turn.

        Template text comes back as control segments, message contents as content segments.
        """

    @abstractmethod
    def count_tokens(self, segments: Sequence[Segment]) -> int:
        """Return the number of tokens of `segments`."""

    @abstractmethod
    def submit(self, request: Request, sink: Sink) -> None:
        """Queue `request` and return; `sink` gets deltas, then one completion or exception.

        The sink is called from the backend's own thread, must not block and must not raise.

        Raises:
            BackendUnavailable: The backend is closed.
            BackendBusy: Too many requests wait already.
        """

    def forget(self) -> None:
        """Drop what is cached of earlier requests: a cache holds what people wrote."""
        return

    def pin(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Return `segments` with their token ids filled in, where the backend takes ids."""
        return tuple(segments)

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """Yield deltas, then the completion; closing the generator cancels the request."""
        cancel = LinkedEvent(request.cancel)
        queue: SimpleQueue[Event | BaseException] = SimpleQueue()
        self.submit(replace(request, cancel=cancel), queue.put)
        try:
            while True:
                item = queue.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if isinstance(item, Completion):
                    return
        finally:
            cancel.set()

    async def astream(self, request: Request) -> AsyncGenerator[Event, None]:
        """Yield what `stream` yields, off the event loop; leaving it cancels the request."""
        cancel = LinkedEvent(request.cancel)
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Event | BaseException] = asyncio.Queue()

        def sink(item: Event | BaseException) -> None:
            try:
                loop.call_soon_threadsafe(queue.put_nowait, item)
            except RuntimeError:  # the loop was closed: nobody is listening any more
                cancel.set()

        self.submit(replace(request, cancel=cancel), sink)
        try:
            while True:
                item = await queue.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if isinstance(item, Completion):
                    return
        finally:
            cancel.set()

    def complete(self, request: Request) -> Completion:
        """Return the completion of `request`, blocking until it is there."""
        cancel = LinkedEvent(request.cancel)
        queue: SimpleQueue[Completion | BaseException] = SimpleQueue()
        self.submit(replace(request, cancel=cancel), _without_deltas(queue.put))
        try:
            item = queue.get()
        finally:
            cancel.set()
        if isinstance(item, BaseException):
            raise item
        return item

    async def acomplete(self, request: Request) -> Completion:
        """Return the completion of `request` without blocking the event loop."""
        events = self.astream(request)
        try:
            async for item in events:
                if isinstance(item, Completion):
                    return item
        finally:
            await events.aclose()
        raise BackendError("the backend ended a stream without a completion")

    def close(self) -> None:
        """Give the model back; running and waiting requests end with `BackendUnavailable`."""
        if self._finalizer is not None:
            self._finalizer()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._finalizer is not None and not self._finalizer.alive

    def _release_with(self, release: Callable[[], object]) -> None:
        """Run `release`, which must not refer to `self`, once: on `close`, collection or exit."""
        self._finalizer = weakref.finalize(self, release)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _without_deltas(put: Callable[[Completion | BaseException], object]) -> Sink:
    """Return a sink that passes only the end on: waking a waiting thread for each token costs."""

    def sink(item: Event | BaseException) -> None:
        if not isinstance(item, Delta):
            put(item)

    return sink
