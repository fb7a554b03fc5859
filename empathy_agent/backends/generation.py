"""Prompt evaluation and generation over any model that takes token ids: one request each.

`TokenEngine` (`batching.py`) leases a slot for a request and builds a `TokenRun`. In each batch a run
has computed what the slot's cache lacks — a stretch of prompt, or the token sampled last — and it
samples from the result once the prompt is done. The token that ends a completion is therefore
never computed, and neither is anything twice: what a stop string leaves in the cache beyond the
content stays there until the next request of that slot agrees with it or sets it back. The model
itself sits behind `TokenModel`, with real and scripted implementations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from empathy_agent.backends.assembly import Assembly
from empathy_agent.backends.requests import Completion, Delta, Event, Request
from empathy_agent.backends.slots import Memory, Slot, SlotPool
from empathy_agent.backends.worker import Job
from empathy_agent.chain import Usage
from empathy_agent.segments import Segment

CHUNK_TOKENS = 128
"""The most tokens that are computed without looking at cancel events and deadlines."""


@dataclass(frozen=True)
class Part:
    """What one slot takes part with in an evaluation."""

    slot: int
    tokens: Sequence[int]
    """The next tokens of the slot, at least one."""
    position: int
    """How many tokens of the slot the cache holds before these."""
    is_sampled: bool
    """Whether the logits of the last token are wanted."""


class Sampler(Protocol):
    """Chooses the tokens of one request."""

    def sample(self, part: int, is_end_banned: bool) -> int:
        """Choose the next token from the logits of that part of the last evaluation.

        While banned, no end and no stop token is chosen.
        """


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

    def evaluate(self, parts: Sequence[Part], is_interrupted: Callable[[], bool]) -> Sequence[int]:
        """Compute all parts, of different slots, at once.

        Returns:
            How many tokens of each part were computed; fewer than asked if interrupted.
        """

    def close(self) -> None:
        """Free the model; further calls of `tokenize` raise `BackendUnavailable`."""


class TokenRun:
    """One request on its leased slot; the worker's `Run`."""

    def __init__(
        self,
        model: TokenModel,
        pool: SlotPool,
        job: Job,
        slot: Slot,
        ids: list[int],
        budget: int,
    ) -> None:
        request = job.request
        stop_tokens = (model.control_token(stop) for stop in request.stop)
        self._stop_tokens = frozenset(token for token in stop_tokens if token is not None)
        self._sampler = model.sampler(request, self._stop_tokens)
        self._assembly = Assembly(request.stop, lambda text: model.tokenize(text, is_control=False))
        self._model, self._pool = model, pool
        self.job, self.slot, self.ids = job, slot, ids
        self._budget = budget
        self._prompt_tokens = len(ids)
        self._reused_tokens = len(slot.tokens)
        self._evaluated_tokens = 0
        self._completion_tokens = 0
        self._is_complete = False
        self.twin: tuple[TokenRun, int] | None = None
        """A run that is computing the same beginning of a prompt, and how long that is."""
        self.served = 0
        """When it took part in a batch last, as a count of batches."""
        self.has_ended = False

    @property
    def missing(self) -> int:
        """How many tokens the cache lacks before the next one can be sampled."""
        return len(self.ids) - len(self.slot.tokens)

    @property
    def is_prompting(self) -> bool:
        """Whether nothing has been sampled yet."""
        return not self._completion_tokens

    def share(self, source: TokenRun, length: int) -> None:
        """Take over the first `length` tokens of another run's cache."""
        before = len(self.slot.tokens)
        self._pool.share(source.slot, self.slot, length)
        self._reused_tokens += len(self.slot.tokens) - before

    def advance(self, part: int, computed: Sequence[int]) -> Sequence[Event]:
        """Enter the tokens that were computed as that part; sample if nothing is missing now."""
        self._pool.store(self.slot, computed)
        self._evaluated_tokens += len(computed)
        return () if self.missing else self._sample(part)

    def end(self) -> None:
        """Give the slot back with everything it has cached."""
        self.has_ended = True
        self._pool.release(self.slot, keep=self._is_complete and self.job.request.keep)

    def _sample(self, part: int) -> Sequence[Event]:
        is_end_banned = self._completion_tokens < self.job.request.min_new_tokens
        token = self._sampler.sample(part, is_end_banned)
        self._completion_tokens += 1
        if token in self._stop_tokens:
            return self._complete("stop", self._assembly.finish(keep_held=True))
        if self._model.is_end(token):
            return self._complete("eos", self._assembly.finish(keep_held=True))
        delta, has_stopped = self._assembly.push(token, self._model.piece(token))
        if has_stopped:
            return self._complete("stop", delta)
        if self._completion_tokens < self._budget:
            self.ids.append(token)
            return (delta,) if delta is not None else ()
        return self._complete("length", delta, self._assembly.finish(keep_held=False))

    def _complete(
        self, finish: Literal["stop", "length", "eos"], *deltas: Delta | None
    ) -> Sequence[Event]:
        self._is_complete = True
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
            self._model.fingerprint,
        )
        return (*(delta for delta in deltas if delta is not None), completion)


def token_ids(model: TokenModel, segments: Sequence[Segment]) -> tuple[int, ...]:
    """Return the ids that `segments` carry for this tokenizer; the others are tokenised apart."""
    ids: list[int] = []
    for segment in segments:
        known = segment.ids_for(model.fingerprint)
        ids += model.tokenize(segment.text, is_control=segment.control) if known is None else known
    return tuple(ids)
