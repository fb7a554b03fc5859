"""The kit's part on many requests at once: nothing mixes, and nothing is computed twice."""

# ruff: noqa: D102 - the name of a test says what it checks
from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.requests import Completion, Message
from empathy_agent.segments import NEWLINE, Segment
from empathy_agent.testing.kit import OTHER_POST, PATIENCE_S, POST, Events, Kit

_STEPS = 4


class SharingKit(Kit):
    """Checks what requests that follow each other, or run side by side, owe each other."""

    def test_many_at_once_all_end_and_do_not_mix(self, backend: Backend) -> None:
        posts = [f"{index}，{POST}{index}" for index in range(2 * self.many(backend))]
        requests = [self.exactly(self.prompt(backend, post), 12) for post in posts]
        for request, beside in zip(requests, self.together(backend, requests), strict=True):
            assert beside.text
            if backend.capabilities.exact_borders:
                assert beside.usage.prompt_tokens == backend.count_tokens(request.segments)
            if backend.capabilities.batch_invariant:
                alone = backend.complete(request)
                assert (beside.text, beside.ids) == (alone.text, alone.ids)

    def test_a_follow_up_computes_only_what_is_new(self, backend: Backend) -> None:
        self.needs(backend, "continues", "prefix_cache")
        self.computed(backend)
        prompt = self.prompt(backend)
        first = backend.complete(self.exactly(prompt, 10))
        follow_up = (*prompt, first.segment, NEWLINE)
        usage = backend.complete(self.exactly(follow_up, 1)).usage
        assert usage.reused_tokens >= backend.count_tokens(prompt)
        assert usage.evaluated_tokens <= backend.count_tokens((first.segment, NEWLINE))

    def test_forgetting_drops_what_is_cached(self, backend: Backend) -> None:
        self.needs(backend, "continues", "prefix_cache")
        self.computed(backend)
        prompt = self.prompt(backend)
        first = backend.complete(self.exactly(prompt, 4))
        backend.forget()
        follow_up = self.exactly((*prompt, first.segment, NEWLINE), 1)
        assert backend.complete(follow_up).usage.reused_tokens == 0

    def test_two_interleaved_conversations_compute_no_token_twice(self, backend: Backend) -> None:
        self.needs(backend, "continues", "prefix_cache")
        if backend.capabilities.parallel_sequences < 2:
            pytest.skip("the backend keeps one prefix")
        before, barrier = self.computed(backend), threading.Barrier(2)
        once: list[int] = []

        def talk(post: str) -> None:
            segments = self.prompt(backend, post)
            for _ in range(_STEPS):
                barrier.wait(timeout=PATIENCE_S)
                completion = backend.complete(self.exactly(segments, 10))
                segments = (*segments, completion.segment, NEWLINE)
            once.append(self.cost(backend, segments))

        threads = [threading.Thread(target=talk, args=(post,)) for post in (POST, OTHER_POST)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(once) == 2
        assert self.computed(backend) - before <= sum(once)

    def test_a_chain_keeps_its_prefix_while_others_compete(self, backend: Backend) -> None:
        self.needs(backend, "continues", "prefix_cache")
        self.computed(backend)
        segments, evaluated = self.prompt(backend), 0
        others: list[Events] = []
        for step in range(_STEPS):
            others += self.crowd(backend, f"{step}")
            request = self.exactly(segments, 10)
            keep = step < _STEPS - 1
            completion = self.completion(
                self.begin(backend, replace(request, session="chain", keep=keep))
            )
            evaluated += completion.usage.evaluated_tokens
            segments = (*segments, completion.segment, NEWLINE)
        assert evaluated <= self.cost(backend, segments)
        assert all(self.completion(events).text for events in others)

    def test_what_is_kept_for_nobody_serves_others_in_the_end(self, backend: Backend) -> None:
        kept = [
            replace(self.exactly(self.prompt(backend), 4), session=f"chain {index}", keep=True)
            for index in range(self.many(backend))
        ]
        self.together(backend, kept)
        stranger = self.exactly(self.prompt(backend, OTHER_POST), 4)
        completion = backend.complete(replace(stranger, deadline=monotonic() + PATIENCE_S))
        assert completion.text

    def test_a_beginning_that_many_share_is_computed_once(self, backend: Backend) -> None:
        self.needs(backend, "continues", "ids", "prefix_cache", "rollback")
        if backend.capabilities.parallel_sequences < 2:
            pytest.skip("the backend keeps one prefix")
        before = self.computed(backend)
        system = Message("system", POST * 3)
        prompts = [
            backend.pin(backend.render([system, Message("user", f"{index}{OTHER_POST}")]))
            for index in range(self.many(backend))
        ]
        completions = self.together(backend, [self.exactly(one, 4) for one in prompts])
        shared = _shared_tokens(prompts)
        assert shared >= backend.count_tokens((Segment(system.content),))
        apart = sum(_computed_alone(one) - shared for one in completions)
        assert self.computed(backend) - before <= shared + apart

    def crowd(self, backend: Backend, name: str) -> list[Events]:
        """Begin more requests than there are sequences, each with a text of its own."""
        count = backend.capabilities.parallel_sequences + 1
        prompts = (self.prompt(backend, f"{name}-{index}，{OTHER_POST}") for index in range(count))
        return [self.begin(backend, self.exactly(one, 4)) for one in prompts]

    def cost(self, backend: Backend, segments: tuple[Segment, ...]) -> int:
        """Return what a transcript costs at most if none of its tokens is computed twice."""
        # The last token of the last completion is never computed, nor the newline after it.
        return backend.count_tokens(segments) - backend.count_tokens((NEWLINE,)) - 1


def _shared_tokens(prompts: Sequence[tuple[Segment, ...]]) -> int:
    """Return how many tokens all prompts begin with."""
    lists = [[token for segment in prompt for token in segment.ids or ()] for prompt in prompts]
    for index, tokens in enumerate(zip(*lists, strict=False)):
        if len(set(tokens)) > 1:
            return index
    return min(map(len, lists))


def _computed_alone(completion: Completion) -> int:
    """Return how many tokens a request computes that finds nothing cached."""
    return completion.usage.prompt_tokens + completion.usage.completion_tokens - 1
