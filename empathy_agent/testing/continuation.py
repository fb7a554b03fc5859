"""The kit's part on what is generated: continuation, stop strings, ids, sampling, usage."""

# ruff: noqa: D102 - the name of a test says what it checks
from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from empathy_agent.backends.base import Backend, Completion, Delta, Request
from empathy_agent.segments import NEWLINE, Segment, control
from empathy_agent.testing.kit import GREEDY, OTHER_POST, POST, Kit


class ContinuationKit(Kit):
    """Checks that a continuation is exact and costs what it must."""

    def test_a_continuation_equals_a_run_in_one_piece(self, backend: Backend) -> None:
        prompt = self.prompt(backend)
        whole = backend.complete(self.exactly(prompt, 24))
        first = backend.complete(self.exactly(prompt, 12))
        second = backend.complete(self.exactly((*prompt, first.segment), 12))
        # A budget that ends inside a character leaves its first bytes out, so the two may be shorter.
        assert len(first.text) > 0 < len(second.text)
        assert whole.text.startswith(first.text + second.text)
        if backend.capabilities.ids:
            assert whole.ids[: len(first.ids + second.ids)] == first.ids + second.ids

    def test_a_cached_prefix_changes_nothing(self, backend: Backend) -> None:
        prompt = self.prompt(backend)
        first = backend.complete(self.exactly(prompt, 12))
        request = self.exactly((*prompt, first.segment, NEWLINE), 12)
        cached = backend.complete(request)
        self.forget(backend)
        fresh = backend.complete(request)
        assert fresh.ids == cached.ids
        assert fresh.text == cached.text

    def test_deltas_add_up_to_the_completion(self, backend: Backend) -> None:
        deltas, completion = self.collect(backend, self.exactly(self.prompt(backend), 24))
        assert "".join(one.text for one in deltas) == completion.text
        assert sum((one.ids for one in deltas), ()) == completion.ids
        for one in deltas:
            one.text.encode("utf-8")

    def test_a_stop_string_is_never_in_the_text(self, backend: Backend) -> None:
        prompt = self.prompt(backend)
        free = backend.complete(self.exactly(prompt, 24))
        stop = self.stop_within(free.text)
        deltas, stopped = self.collect(backend, Request(prompt, (stop, "</L1>"), 24, GREEDY))
        assert stopped.finish == "stop"
        assert stopped.text == free.text[: free.text.index(stop)]
        assert all(stop not in one.text for one in deltas)

    def test_ids_spell_the_text_also_where_a_stop_cut_a_token(self, backend: Backend) -> None:
        if not backend.capabilities.ids:
            pytest.skip("the backend returns no ids")
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
        request = Request(self.prompt(backend), (), 5, GREEDY, min_new_tokens=5)
        completion = backend.complete(request)
        assert completion.finish == "length"
        assert completion.usage.completion_tokens == 5

    def test_the_same_seed_gives_the_same_text_beside_other_requests(
        self, backend: Backend
    ) -> None:
        if not backend.capabilities.batch_invariant:
            pytest.skip("requests share batches here, which may round differently")
        sampling = GREEDY.model_copy(update={"temperature": 1.0, "top_k": 20, "seed": 7})
        request = replace(self.exactly(self.prompt(backend), 20), sampling=sampling)
        alone = backend.complete(request)
        stream = backend.stream(self.exactly(self.prompt(backend, OTHER_POST), 60))
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

    def test_usage_adds_up(self, backend: Backend) -> None:
        prompt = self.prompt(backend)
        before = self.computed(backend)
        usage = backend.complete(self.exactly(prompt, 10)).usage
        assert usage.prompt_tokens == backend.count_tokens(prompt)
        assert usage.completion_tokens == 10
        # The last token is never computed: nothing follows it yet.
        assert usage.evaluated_tokens + usage.reused_tokens == usage.prompt_tokens + 9
        assert self.computed(backend) - before == usage.evaluated_tokens

    def test_a_follow_up_computes_only_what_is_new(self, backend: Backend) -> None:
        if not backend.capabilities.prefix_cache:
            pytest.skip("the backend keeps no prefix")
        prompt = self.prompt(backend)
        first = backend.complete(self.exactly(prompt, 10))
        follow_up = (*prompt, first.segment, NEWLINE)
        usage = backend.complete(self.exactly(follow_up, 1)).usage
        assert usage.reused_tokens >= backend.count_tokens(prompt)
        assert usage.evaluated_tokens <= backend.count_tokens((first.segment, NEWLINE))

    def test_two_interleaved_conversations_compute_no_token_twice(self, backend: Backend) -> None:
        capabilities = backend.capabilities
        if not capabilities.prefix_cache or capabilities.parallel_sequences < 2:
            pytest.skip("the backend keeps one prefix or none")
        before, barrier = self.computed(backend), threading.Barrier(2)
        transcripts: dict[str, tuple[tuple[Segment, ...], int]] = {}

        def talk(post: str) -> None:
            segments, last = self.prompt(backend, post), 0
            for _ in range(4):
                barrier.wait(timeout=30)
                completion = backend.complete(self.exactly(segments, 10))
                segments = (*segments, completion.segment, NEWLINE)
                last = backend.count_tokens((NEWLINE,)) + 1
            transcripts[post] = (segments, last)

        threads = [threading.Thread(target=talk, args=(post,)) for post in (POST, OTHER_POST)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(transcripts) == 2
        once = sum(backend.count_tokens(parts) - last for parts, last in transcripts.values())
        assert self.computed(backend) - before <= once
