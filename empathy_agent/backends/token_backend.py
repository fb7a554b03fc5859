"""What every backend over a `TokenModel` has in common: its engine, its worker and its counts."""

from __future__ import annotations

from collections.abc import Sequence

from empathy_agent.backends.base import Backend
from empathy_agent.backends.batching import TokenEngine
from empathy_agent.backends.generation import TokenModel, token_ids
from empathy_agent.backends.requests import Request, Sink
from empathy_agent.backends.worker import MAX_WAITING, Worker
from empathy_agent.segments import Segment


class TokenBackend(Backend):
    """What every backend over a `TokenModel` has in common."""

    def __init__(
        self,
        model: TokenModel,
        parallel_sequences: int,
        *,
        is_batching: bool = True,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._model = model
        self._engine = TokenEngine(model, parallel_sequences, is_batching=is_batching)
        self._worker = Worker(
            self._engine, f"empathy-agent {type(self).__name__}", max_waiting=max_waiting
        )
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
