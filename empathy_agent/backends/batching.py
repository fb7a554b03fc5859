"""One batch after the other over all active requests: continuous batching with chunked prompts.

Every run that has a token to follow takes part in each batch; what room is left goes to prompts, in
turns to the shortest and to the one that has waited longest, so that a short post is not stuck
behind an endless one and neither starves. A prompt whose beginning another run is just computing —
the system prompt, when many arrive together — waits for that and shares it.
"""

from __future__ import annotations

from collections.abc import Sequence

from empathy_agent.backends.generation import (
    CHUNK_TOKENS,
    Part,
    TokenModel,
    TokenRun,
    token_ids,
)
from empathy_agent.backends.slots import SlotPool, common_prefix
from empathy_agent.backends.worker import Job, Outcome
from empathy_agent.errors import BackendError, ContextOverflow

_WORTH_WAITING = 16
"""Tokens of a common beginning below which a run rather computes it itself."""


class TokenEngine:
    """Runs requests on a `TokenModel`; the worker's `Engine`.

    Args:
        model: The model.
        parallel_sequences: How many requests run at once.
        is_batching: Whether requests share batches; otherwise they take turns, each by itself.
    """

    def __init__(
        self, model: TokenModel, parallel_sequences: int, *, is_batching: bool = True
    ) -> None:
        self.model = model
        self.pool = SlotPool(
            parallel_sequences, model.cache_tokens, model, can_rollback=model.can_rollback
        )
        self.evaluated_tokens = 0
        self._is_batching = is_batching
        self._runs: list[TokenRun] = []
        self._turn = 0

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
        slot = self.pool.lease(ids, len(ids) + budget, request.session)
        if slot is None:
            return None
        try:
            run = TokenRun(self.model, self.pool, job, slot, ids, budget)
        except BaseException:
            self.pool.release(slot)
            raise
        self._runs = [one for one in self._runs if not one.has_ended]
        run.twin = self._twin(run)
        self._runs.append(run)
        return run

    def step(self, jobs: Sequence[Job]) -> Sequence[tuple[Job, Outcome]]:
        """Compute one batch over the runs of `jobs`."""
        active = set(jobs)
        plan = self._plan([run for run in self._runs if run.job in active])
        parts = [
            Part(run.slot.index, tokens, len(run.slot.tokens), len(tokens) == run.missing)
            for run, tokens in plan
        ]
        prompting = [run.job for run, tokens in plan if len(tokens) > 1]
        try:
            counts = self.model.evaluate(
                parts, lambda: any(job.is_interrupted() for job in prompting)
            )
        except Exception as error:
            for run, _ in plan:
                self.pool.forget(run.slot)
            return [(run.job, error) for run, _ in plan]
        self.evaluated_tokens += sum(counts)
        outcomes: list[tuple[Job, Outcome]] = []
        for index, ((run, tokens), count) in enumerate(zip(plan, counts, strict=True)):
            try:
                outcomes.append((run.job, run.advance(index, tokens[:count])))
            except Exception as error:  # one run's sampler is no other run's problem
                outcomes.append((run.job, error))
        return outcomes

    def is_held(self, session: str | None) -> bool:
        """Return whether a slot is kept for `session`; safe from any thread."""
        return self.pool.is_held(session)

    def close(self) -> None:
        """Free the model."""
        self.model.close()

    def _plan(self, runs: Sequence[TokenRun]) -> list[tuple[TokenRun, Sequence[int]]]:
        """Choose who takes part in the next batch, and with which tokens."""
        self._turn += 1
        ready = [run for run in runs if not self._waits_for_twin(run)]
        if not self._is_batching:
            ready = [min(ready, key=lambda run: run.served)]
        prompts = sorted((run for run in ready if run.missing > 1), key=lambda run: run.missing)
        if prompts and self._turn % 2:
            oldest = next(run for run in ready if run.missing > 1)
            prompts.remove(oldest)
            prompts.insert(0, oldest)
        plan: list[tuple[TokenRun, Sequence[int]]] = []
        room = CHUNK_TOKENS
        for run in (*(run for run in ready if run.missing == 1), *prompts):
            if not room:
                break
            start = len(run.slot.tokens)
            tokens = run.ids[start : start + min(run.missing, room)]
            room -= len(tokens)
            run.served = self._turn
            plan.append((run, tokens))
        return plan

    def _twin(self, run: TokenRun) -> tuple[TokenRun, int] | None:
        """Return the run that is just computing most of this one's prompt, and how much."""
        if not self.pool.can_rollback:
            return None
        best: tuple[TokenRun, int] | None = None
        least = len(run.slot.tokens) + _WORTH_WAITING
        for other in self._runs:
            shared = min(common_prefix(other.ids, run.ids), len(run.ids) - 1)
            if other.is_prompting and shared >= least:
                best, least = (other, shared), shared + 1
        return best

    def _waits_for_twin(self, run: TokenRun) -> bool:
        """Return whether a twin is still at it; otherwise take over what it has."""
        if run.twin is None:
            return False
        twin, length = run.twin
        if len(twin.slot.tokens) < length and not twin.has_ended:
            return True
        # A slot that was given back may serve another text by now.
        run.share(twin, min(common_prefix(twin.slot.tokens, run.ids), length))
        run.twin = None
        return False
