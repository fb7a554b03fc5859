"""The engine: who takes part in a batch, what is shared, and what a failure costs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from empathy_agent.backends.batching import TokenEngine
from empathy_agent.backends.generation import CHUNK_TOKENS, Part
from empathy_agent.backends.requests import Completion, Delta, Event, Request
from empathy_agent.backends.worker import Job, Outcome
from empathy_agent.errors import BackendError
from empathy_agent.segments import Segment
from empathy_agent.testing.kit import GREEDY


class _Sampler:
    def __init__(self, token: int, fails: bool) -> None:
        self._token, self._fails = token, fails

    def sample(self, part: int, is_end_banned: bool) -> int:
        if self._fails:
            raise ValueError("桔梗")
        return self._token


class _Model:
    """Tokens are characters; every request writes its own last character, over and over."""

    fingerprint = "x"
    context_size = 4096
    can_rollback = True

    def __init__(self, cache_tokens: int = 8192) -> None:
        self.cache_tokens = cache_tokens
        self.batches: list[list[Part]] = []
        self.copies: list[tuple[int, int, int, int]] = []
        self.trims: list[tuple[int, int]] = []
        self.computes: Callable[[Sequence[Part]], Sequence[int]] = lambda parts: [
            len(part.tokens) for part in parts
        ]

    def tokenize(self, text: str, *, is_control: bool) -> tuple[int, ...]:
        return tuple(map(ord, text))

    def piece(self, token: int) -> bytes:
        return chr(token).encode()

    def is_end(self, token: int) -> bool:
        return False

    def control_token(self, text: str) -> int | None:
        return None

    def sampler(self, request: Request, stop_tokens: frozenset[int]) -> _Sampler:
        text = request.segments[-1].text
        return _Sampler(ord(text[-1]), fails=text.endswith("!"))

    def evaluate(self, parts: Sequence[Part], is_interrupted: Callable[[], bool]) -> Sequence[int]:
        self.batches.append(list(parts))
        return self.computes(parts)

    def trim(self, slot: int, length: int) -> bool:
        self.trims.append((slot, length))
        return True

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        self.copies.append((source, target, start, end))

    def close(self) -> None:
        return


class _Bed:
    """An engine with its jobs, stepped by hand."""

    def __init__(self, slots: int = 8, *, is_batching: bool = True, cache: int = 8192) -> None:
        self.model = _Model(cache)
        self.engine = TokenEngine(self.model, slots, is_batching=is_batching)
        self.jobs: list[Job] = []

    def add(self, text: str, count: int = 4, **options: object) -> Job | None:
        request = Request((Segment(text),), (), count, GREEDY, **options)  # type: ignore[arg-type]
        job = Job(request, lambda item: None, threading.Event())
        job.run = self.engine.admit(job)
        if job.run is None:
            return None
        self.jobs.append(job)
        return job

    def step(self) -> list[tuple[Job, Outcome]]:
        outcomes = list(self.engine.step(self.jobs))
        for job, outcome in outcomes:
            if isinstance(outcome, Exception) or any(isinstance(e, Completion) for e in outcome):
                self.finish(job)
        return outcomes

    def finish(self, job: Job) -> None:
        assert job.run is not None
        self.jobs.remove(job)
        job.run.end()

    def run(self) -> dict[Job, list[Event]]:
        events: dict[Job, list[Event]] = {}
        while self.jobs:
            for job, outcome in self.step():
                assert not isinstance(outcome, Exception)
                events.setdefault(job, []).extend(outcome)
        return events

    def sizes(self) -> list[list[int]]:
        return [[len(part.tokens) for part in batch] for batch in self.model.batches]


def test_everyone_who_writes_takes_part_in_each_batch() -> None:
    bed = _Bed()
    first, second = bed.add("ab"), bed.add("cd")
    events = bed.run()
    assert bed.sizes() == [[2, 2], [1, 1], [1, 1], [1, 1]]
    for job, letter in ((first, "b"), (second, "d")):
        assert job is not None
        assert "".join(one.text for one in events[job] if isinstance(one, Delta)) == letter * 4


def test_a_long_prompt_holds_up_nobody_who_writes() -> None:
    bed = _Bed()
    bed.add("ab", 6)
    bed.step()
    bed.add("x" * 300)
    for _ in range(3):
        bed.step()
    assert bed.sizes()[1:4] == [[1, CHUNK_TOKENS - 1], [1, CHUNK_TOKENS - 1], [1, 46]]


def test_short_and_oldest_prompts_take_turns() -> None:
    bed = _Bed()
    bed.add("x" * 1000)
    bed.step()
    short = bed.add("ab" * 60)
    served: list[list[int]] = []
    while any(job is short for job in bed.jobs) and len(served) < 4:
        bed.step()
        served.append([part.slot for part in bed.model.batches[-1]])
    slots = {slot for batch in served for slot in batch}
    assert len(slots) == 2
    assert len(served[0]) == 2, "the short one first, and the long one in the room that is left"


def test_an_endless_prompt_is_not_starved_by_short_ones() -> None:
    bed = _Bed()
    long = bed.add("x" * 1000, 1)
    steps = 0
    while any(job is long for job in bed.jobs):
        bed.add(f"{steps}" + "ab" * 63, 1)
        bed.step()
        steps += 1
        assert steps < 40
    assert steps <= 2 * (1000 // CHUNK_TOKENS + 1)


def test_a_beginning_that_another_is_computing_is_computed_once() -> None:
    bed = _Bed()
    beginning = "s" * 400
    for post in "abcd":
        bed.add(beginning + post * 20)
    events = bed.run()
    assert bed.engine.evaluated_tokens == 400 + 4 * 20 + 4 * 3
    assert [(start, end) for _, _, start, end in bed.model.copies] == [(0, 400)] * 3
    usages = [e[-1].usage for e in events.values() if isinstance(e[-1], Completion)]
    assert sorted(usage.reused_tokens for usage in usages) == [0, 400, 400, 400]
    assert all(u.evaluated_tokens + u.reused_tokens == u.prompt_tokens + 3 for u in usages)


def test_the_one_that_waits_goes_on_alone_if_its_twin_is_cancelled() -> None:
    bed = _Bed()
    first, second = bed.add("s" * 400 + "a"), bed.add("s" * 400 + "b")
    assert first is not None
    bed.step()
    bed.finish(first)
    events = bed.run()
    assert second is not None
    assert isinstance(events[second][-1], Completion)
    assert bed.engine.evaluated_tokens == 400 + 1 + 3, "what the first had computed is taken over"


def test_without_batching_requests_take_turns_alone() -> None:
    bed = _Bed(is_batching=False)
    bed.add("ab")
    bed.add("cd")
    bed.run()
    assert bed.sizes() == [[2], [2], *([[1]] * 6)]
    slots = [batch[0].slot for batch in bed.model.batches]
    assert slots == [0, 1] * 4


def test_an_interrupted_batch_goes_on_where_it_stopped() -> None:
    bed = _Bed()
    bed.model.computes = lambda parts: [min(len(part.tokens), 50) for part in parts]
    job = bed.add("x" * 120 + "y", 1)
    assert job is not None
    assert isinstance(bed.run()[job][-1], Completion)
    assert [(part.position, len(part.tokens)) for (part,) in bed.model.batches] == [
        (0, 121),
        (50, 71),
        (100, 21),
    ]


def test_a_failing_batch_empties_its_slots_and_no_others() -> None:
    bed = _Bed()
    idle = bed.add("idle", 1)
    bed.run()
    assert idle is not None

    def fail(parts: Sequence[Part]) -> Sequence[int]:
        raise BackendError("the model broke")

    bed.model.computes = fail
    bed.add("ab")
    bed.add("cd")
    outcomes = bed.step()
    assert [type(outcome) for _, outcome in outcomes] == [BackendError, BackendError]
    assert bed.jobs == []
    assert {slot for slot, length in bed.model.trims if length == 0} == {1, 2}


def test_a_sampler_that_fails_harms_no_other_run() -> None:
    bed = _Bed()
    bad, good = bed.add("a!"), bed.add("cd")
    outcomes = dict(bed.step())
    assert bad is not None
    assert good is not None
    assert isinstance(outcomes[bad], ValueError)
    assert isinstance(bed.run()[good][-1], Completion)


@pytest.mark.parametrize("competitors", [1, 5])
def test_a_session_that_goes_on_keeps_its_cache_among_competitors(competitors: int) -> None:
    bed = _Bed(slots=2)
    chain = bed.add("p" * 100, 3, session="chain", keep=True)
    bed.run()
    assert chain is not None
    for index in range(competitors):
        assert bed.add(f"{index}" * 60, 1) is not None
        assert bed.add(f"{index}" * 60, 1) is None, "the other slot is kept"
        bed.run()
    before = bed.engine.evaluated_tokens
    assert bed.add("p" * 100 + "pp" + "q", 1, session="chain") is not None
    bed.run()
    assert bed.engine.evaluated_tokens - before == 1


def test_a_cancelled_request_keeps_nothing() -> None:
    bed = _Bed(slots=1)
    job = bed.add("p" * 100, 3, session="chain", keep=True)
    assert job is not None
    bed.finish(job)
    assert not bed.engine.is_held("chain")
    assert bed.add("q", 1) is not None
