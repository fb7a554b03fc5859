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
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from types import TracebackType
from typing import Literal, Self

from empathy_agent.backends.quotes import Quotes
from empathy_agent.chain import Usage
from empathy_agent.config import Sampling
from empathy_agent.errors import BackendError
from empathy_agent.segments import Segment
from empathy_agent.vocabulary import Language, LayerName

Role = Literal["system", "user", "assistant"]
PartName = LayerName | Literal["answer", "single_pass"]
"""A part of the transcript that a node asks for; `"single_pass"` is all of them."""


@dataclass(frozen=True)
class Message:
    """One turn of the conversation, before any template."""

    role: Role
    content: str
    trusted: bool = False
    """True only for our own prompts, which may name the tags; `fit` escapes all other contents."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can promise; shown by `doctor`, read by the conformance kit."""

    ids: bool
    """Token ids are returned, and taken back without tokenising again."""
    exact_borders: bool
    """Segments are tokenised apart, so a border is never merged away."""
    prefix_cache: bool
    """A request that continues an earlier one computes only what is new."""
    rollback: bool
    """The cache can be set back; where it cannot, a changed prefix is computed again."""
    chat_template: Literal["model", "plain"]
    """Whether the model's own chat template is used, or the documented plain one."""
    control_tags: bool
    """The tags are CONTROL tokens of this vocabulary: text cannot forge them, stops are exact."""
    parallel_sequences: int
    """How many requests keep their cached prefix side by side."""
    languages: tuple[str, ...] | None = None
    """Languages the model was made for; None where the model does not say."""
    demonstration: bool = False
    """The model says of itself that it only demonstrates: nobody at risk is to be answered by it."""
    guided_quotes: bool = False
    """`Request.quotes` is obeyed: a quote can only be words of its source."""
    continues: bool = True
    """Any text can be continued; False for chat models, which are asked for each part in words."""
    min_tokens: bool = True
    """`Request.min_new_tokens` is obeyed."""
    batch_invariant: bool = True
    """The same request gives the same text whatever else runs; False where rounding may differ."""


@dataclass(frozen=True)
class Guide:
    """What a model that is asked in words is told; backends that continue a text ignore it."""

    part: PartName
    """What is asked for now."""
    lang: Language
    instructions: Mapping[PartName, str]
    """How each part is written, in that language; `"single_pass"` is not among them."""


@dataclass(frozen=True)
class Request:
    """One continuation to compute."""

    segments: tuple[Segment, ...]
    stop: tuple[str, ...] = ()
    """The completion ends before the first of these; none of them is ever in its text."""
    max_new_tokens: int = 256
    sampling: Sampling = field(default_factory=Sampling)
    deadline: float | None = None
    """`time.monotonic()` seconds after which the request ends with `BackendTimeout`."""
    cancel: threading.Event | None = None
    """Set by the caller to end the request with `BackendCancelled`; never set by a backend."""
    quotes: Quotes | None = None
    """Hold what stands between these marks to a source, where `Capabilities.guided_quotes`."""
    min_new_tokens: int = 0
    """Before this count, no end token and no stop string that is one control token is sampled."""
    guide: Guide | None = None
    """What to tell a model whose `Capabilities.continues` is False."""
    session: str | None = None
    """Names the requests that follow each other, such as the layers of one chain; never a person."""
    keep: bool = False
    """Another request of this session follows at once: its cache is held for it a short while."""

    def __post_init__(self) -> None:
        """Refuse counts that make no sense."""
        if self.max_new_tokens < 1:
            raise ValueError("max_new_tokens must be at least 1")


@dataclass(frozen=True)
class Delta:
    """The next piece of a completion: whole characters, and the ids that end inside it."""

    text: str
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A finished continuation; `text` and `ids` are the sums of its deltas."""

    text: str
    ids: tuple[int, ...]
    finish: Literal["stop", "length", "eos"]
    usage: Usage
    fingerprint: str

    @property
    def segment(self) -> Segment:
        """The completion as a content segment, to be continued from without tokenising it again."""
        return Segment(self.text, ids=self.ids, fingerprint=self.fingerprint)


Event = Delta | Completion
Sink = Callable[[Delta | Completion | BaseException], None]


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
