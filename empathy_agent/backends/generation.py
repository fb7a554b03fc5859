"""Prompt evaluation and generation over any model that takes token ids, one step at a time.

`TokenEngine` leases a slot for a request and builds a `TokenRun`; the worker gives the run its
steps. A step computes what the slot's cache lacks — a chunk of prompt, or the token sampled last
— and samples from the result once the prompt is done. The token that ends a completion is
therefore never computed, and neither is anything twice: what a stop string leaves in the cache
beyond the content stays there until the next request of that slot agrees with it or sets it back.
The model itself sits behind `TokenModel`, with a real and a scripted implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from empathy_agent.backends.assembly import Assembly
from empathy_agent.backends.base import Backend, Completion, Delta, Event, Request, Sink
from empathy_agent.backends.slots import Memory, Slot, SlotPool
from empathy_agent.backends.worker import Job, Worker
from empathy_agent.chain import Usage
from empathy_agent.errors import BackendError, ContextOverflow
from empathy_agent.segments import Segment

CHUNK_TOKENS = 128
"""The longest stretch of prompt that is computed without looking at cancel events and deadlines."""


class Sampler(Protocol):
    """Chooses the tokens of one request."""

    def sample(self, is_end_banned: bool) -> int:
        """Choose the next token from the last evaluation; no end or stop token while banned."""


class TokenModel(Memory, Protocol):
    """What the engine needs of a model; only `tokenize` is called from other threads too."""

    fingerprint: str
    context_size: int
    cache_tokens: int
    can_rollback: bool

    def tokenize(self, text: str, *, is_control: bool) -> tuple[int, ...]:
        """Return a segment's ids; special strings become special tokens only if `is_control`."""

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token, special tokens shown."""

    def is_end(self, token: int) -> bool:
        """Return whether the model ends its turn with this token."""

    def control_token(self, text: str) -> int | None:
        """Return the one CONTROL token that spells `text`, if there is one."""

    def sampler(self, request: Request, stop_tokens: frozenset[int]) -> Sampler:
        """Return the sampler of a request."""

    def evaluate(
        self, slot: int, tokens: Sequence[int], position: int, is_interrupted: Callable[[], bool]
    ) -> int:
        """Compute `tokens` from `position` on; return how many were, fewer if interrupted."""

    def close(self) -> None:
        """Free the model; further calls of `tokenize` raise `BackendUnavailable`."""


class TokenEngine:
    """Runs requests on a `TokenModel`; the worker's `Engine`."""

    def __init__(self, model: TokenModel, parallel_sequences: int) -> None:
        self.model = model
        self.pool = SlotPool(
            parallel_sequences, model.cache_tokens, model, can_rollback=model.can_rollback
        )
        self.evaluated_tokens = 0

    def admit(self, job: Job) -> TokenRun | None:
        """Lease a slot for the job's prompt, or return None while there is none."""
        request = job.request
        ids = list(token_ids(self.model, request.segments))
        if not ids:
            raise BackendError("the request is empty: there is no token to continue from")
        budget = min(request.max_new_tokens, self.model.context_size - len(ids))
        if budget < 1:
            raise ContextOverflow(
                f"the prompt has {len(ids)} tokens and the model's context holds "
                f"{self.model.context_size}; shorten it with `fit` or open a larger context"
            )
        slot = self.pool.lease(ids, len(ids) + budget)
        if slot is None:
            return None
        try:
            return TokenRun(self, job, slot, ids, budget)
        except BaseException:
            self.pool.release(slot)
            raise

    def close(self) -> None:
        """Free the model."""
        self.model.close()


class TokenRun:
    """One request on its leased slot; the worker's `Run`."""

    def __init__(
        self, engine: TokenEngine, job: Job, slot: Slot, ids: list[int], budget: int
    ) -> None:
        model, request = engine.model, job.request
        stop_tokens = (model.control_token(stop) for stop in request.stop)
        self._stop_tokens = frozenset(token for token in stop_tokens if token is not None)
        self._sampler = model.sampler(request, self._stop_tokens)
        self._assembly = Assembly(request.stop, lambda text: model.tokenize(text, is_control=False))
        self._engine, self._job, self._slot = engine, job, slot
        self._ids, self._budget = ids, budget
        self._prompt_tokens = len(ids)
        self._reused_tokens = len(slot.tokens)
        self._evaluated_tokens = 0
        self._completion_tokens = 0

    def step(self) -> Sequence[Event]:
        """Compute a chunk of prompt or the token sampled last; sample when the prompt is done."""
        cached = self._slot.tokens
        todo = self._ids[len(cached) : len(cached) + CHUNK_TOKENS]
        try:
            done = self._engine.model.evaluate(
                self._slot.index, todo, len(cached), self._job.is_interrupted
            )
        except BaseException:
            self._engine.pool.forget(self._slot)
            raise
        cached.extend(todo[:done])
        self._evaluated_tokens += done
        self._engine.evaluated_tokens += done
        return self._sample() if len(cached) == len(self._ids) else ()

    def end(self) -> None:
        """Give the slot back with everything it has cached."""
        self._engine.pool.release(self._slot)

    def _sample(self) -> Sequence[Event]:
        token = self._sampler.sample(self._completion_tokens < self._job.request.min_new_tokens)
        self._completion_tokens += 1
        if token in self._stop_tokens:
            return self._complete("stop", self._assembly.finish(keep_held=True))
        if self._engine.model.is_end(token):
            return self._complete("eos", self._assembly.finish(keep_held=True))
        delta, has_stopped = self._assembly.push(token, self._engine.model.piece(token))
        if has_stopped:
            return self._complete("stop", delta)
        if self._completion_tokens < self._budget:
            self._ids.append(token)
            return (delta,) if delta is not None else ()
        return self._complete("length", delta, self._assembly.finish(keep_held=False))

    def _complete(
        self, finish: Literal["stop", "length", "eos"], *deltas: Delta | None
    ) -> Sequence[Event]:
        usage = Usage(
            prompt_tokens=self._prompt_tokens,
            evaluated_tokens=self._evaluated_tokens,
            reused_tokens=self._reused_tokens,
            completion_tokens=self._completion_tokens,
        )
        completion = Completion(
            self._assembly.text,
            self._assembly.ids,
            finish,
            usage,
            self._engine.model.fingerprint,
        )
        return (*(delta for delta in deltas if delta is not None), completion)


class TokenBackend(Backend):
    """What every backend over a `TokenModel` has in common."""

    def __init__(self, model: TokenModel, parallel_sequences: int) -> None:
        self._model = model
        self._engine = TokenEngine(model, parallel_sequences)
        self._worker = Worker(self._engine, f"empathy-agent {type(self).__name__}")
        self._release_with(self._worker.close)

    @property
    def fingerprint(self) -> str:
        """A hash of the tokenizer."""
        return self._model.fingerprint

    @property
    def context_size(self) -> int:
        """How many tokens prompt and completion may have together."""
        return self._model.context_size

    @property
    def evaluated_tokens(self) -> int:
        """Tokens computed since the backend was opened, over all requests."""
        return self._engine.evaluated_tokens

    def count_tokens(self, segments: Sequence[Segment]) -> int:
        """Return the number of tokens of `segments`."""
        return len(token_ids(self._model, segments))

    def pin(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Return `segments` with their token ids filled in."""
        return tuple(
            Segment(one.text, one.control, token_ids(self._model, (one,)), self.fingerprint)
            for one in segments
        )

    def forget(self) -> None:
        """Drop all cached prefixes of requests that have ended."""
        self._worker.call(self._engine.pool.clear)

    def submit(self, request: Request, sink: Sink) -> None:
        """Queue `request` for the worker's thread."""
        self._worker.submit(request, sink)


def token_ids(model: TokenModel, segments: Sequence[Segment]) -> tuple[int, ...]:
    """Return the ids that `segments` carry for this tokenizer; the others are tokenised apart."""
    ids: list[int] = []
    for segment in segments:
        known = segment.ids_for(model.fingerprint)
        ids += model.tokenize(segment.text, is_control=segment.control) if known is None else known
    return tuple(ids)
