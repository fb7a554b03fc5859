"""The kit's part on what is generated: continuation, stop strings, ids, sampling, usage."""

# ruff: noqa: D102 - the name of a test says what it checks
from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.requests import Completion, Delta, Request
from empathy_agent.segments import NEWLINE, control
from empathy_agent.testing.kit import GREEDY, OTHER_POST, Kit


class ContinuationKit(Kit):
    """Checks that a continuation is exact and says what it cost."""

    def test_a_continuation_equals_a_run_in_one_piece(self, backend: Backend) -> None:
        self.needs(backend, "continues", "ids")
        prompt = self.prompt(backend)
        whole = backend.complete(self.exactly(prompt, 24))
        first = backend.complete(self.exactly(prompt, 12))
        if first.finish != "length":  # only without `min_tokens`
            pytest.skip("the model ended its text too early")
        second = backend.complete(self.exactly((*prompt, first.segment), 12))
        # A budget that ends inside a character leaves its first bytes out, so the two may be shorter.
        assert len(first.text) > 0 < len(second.text)
        assert whole.text.startswith(first.text + second.text)
        assert whole.ids[: len(first.ids + second.ids)] == first.ids + second.ids

    def test_a_longer_budget_begins_with_the_same_text(self, backend: Backend) -> None:
        self.needs(backend, "continues")
        prompt = self.prompt(backend)
        short = backend.complete(self.exactly(prompt, 12))
        long = backend.complete(self.exactly(prompt, 24))
        assert len(short.text) > 0
        assert long.text.startswith(short.text)

    def test_a_cached_prefix_changes_nothing(self, backend: Backend) -> None:
        self.needs(backend, "continues")
        prompt = self.prompt(backend)
        first = backend.complete(self.exactly(prompt, 12))
        request = self.exactly((*prompt, first.segment, NEWLINE), 12)
        cached = backend.complete(request)
        self.forget(backend)
        fresh = backend.complete(request)
        assert fresh.ids == cached.ids
        assert fresh.text == cached.text

    def test_deltas_add_up_to_the_completion(self, backend: Backend) -> None:
        part = self.exactly(self.prompt(backend), 24)
        # A model that is asked in words gives a layer in one piece.
        for request in (part,) if backend.capabilities.continues else (part, self.long(backend)):
            deltas, completion = self.collect(backend, request)
            assert completion.text
            assert "".join(one.text for one in deltas) == completion.text
            assert sum((one.ids for one in deltas), ()) == completion.ids
            for one in deltas:
                one.text.encode("utf-8")

    def test_a_stop_string_is_never_in_the_text(self, backend: Backend) -> None:
        self.needs(backend, "continues")
        prompt = self.prompt(backend)
        free = backend.complete(self.exactly(prompt, 24))
        stop = self.stop_within(free.text)
        deltas, stopped = self.collect(backend, Request(prompt, (stop, "</L1>"), 24, GREEDY))
        assert stopped.finish == "stop"
        assert stopped.text == free.text[: free.text.index(stop)]
        assert all(stop not in one.text for one in deltas)

    def test_ids_spell_the_text_also_where_a_stop_cut_a_token(self, backend: Backend) -> None:
        self.needs(backend, "continues", "ids")
        prompt = self.prompt(backend)
        free = backend.complete(self.exactly(prompt, 24))
        stop = self.stop_within(free.text)
        stopped = backend.complete(Request(prompt, (stop,), 24, GREEDY))
        assert stopped.fingerprint == backend.fingerprint
        follow_up = self.exactly((*prompt, stopped.segment, control("</L1>"), NEWLINE), 8)
        cached = backend.complete(follow_up)
        self.forget(backend)
        assert backend.complete(follow_up).ids == cached.ids

    def test_the_token_budget_is_kept(self, backend: Backend) -> None:
        self.needs(backend, "continues")
        prompt = self.prompt(backend)
        completion = backend.complete(self.exactly(prompt, 5))
        if backend.capabilities.min_tokens:
            assert completion.finish == "length"
            assert completion.usage.completion_tokens == 5
        # Who returns no ids may count its text by tokenising it again, which need not give 5.
        longer = backend.complete(self.exactly(prompt, 15))
        assert len(completion.text) < len(longer.text)

    def test_the_same_seed_gives_the_same_text_beside_other_requests(
        self, backend: Backend
    ) -> None:
        self.needs(backend, "continues", "batch_invariant")
        sampling = GREEDY.model_copy(update={"temperature": 1.0, "top_k": 20, "seed": 7})
        request = replace(self.exactly(self.prompt(backend), 20), sampling=sampling)
        alone = backend.complete(request)
        stream = backend.stream(self.long(backend, OTHER_POST))
        next(stream)
        beside = backend.complete(request)
        stream.close()
        assert beside.text == alone.text

    def test_async_gives_what_sync_gives(self, backend: Backend) -> None:
        request = self.exactly(self.prompt(backend), 16)
        expected = backend.complete(request)

        async def collect() -> list[Delta | Completion]:
            return [one async for one in backend.astream(request)]

        *deltas, last = asyncio.run(collect())
        assert isinstance(last, Completion)
        assert (last.text, last.ids, last.finish) == (expected.text, expected.ids, expected.finish)
        assert "".join(one.text for one in deltas) == expected.text
        assert asyncio.run(backend.acomplete(request)).text == expected.text

    def test_usage_is_told(self, backend: Backend) -> None:
        completion = backend.complete(self.exactly(self.prompt(backend), 10))
        assert all(count >= 0 for count in completion.usage.model_dump().values())
        if backend.capabilities.continues:
            assert completion.usage.prompt_tokens > 0
            assert completion.usage.completion_tokens > 0

    def test_usage_adds_up(self, backend: Backend) -> None:
        self.needs(backend, "continues")
        prompt = self.prompt(backend)
        before = self.computed(backend)
        usage = backend.complete(self.exactly(prompt, 10)).usage
        assert usage.prompt_tokens == backend.count_tokens(prompt)
        # The last token is never computed: nothing follows it yet.
        expected = usage.prompt_tokens + usage.completion_tokens - 1
        assert usage.evaluated_tokens + usage.reused_tokens == expected
        assert self.computed(backend) - before == usage.evaluated_tokens
