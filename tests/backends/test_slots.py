"""Slots: leases, prefixes, room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from empathy_agent.backends.slots import KEEP_S, Slot, SlotPool, common_prefix


class _Memory:
    def __init__(self, *, can_trim: bool = True) -> None:
        self.can_trim = can_trim
        self.log: list[tuple[object, ...]] = []

    def trim(self, slot: int, length: int) -> bool:
        self.log.append(("trim", slot, length))
        return self.can_trim or length == 0

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        self.log.append(("copy", source, target, start, end))


def _pool(count: int = 2, capacity: int = 1000, *, can_trim: bool = True) -> SlotPool:
    return SlotPool(count, capacity, _Memory(can_trim=can_trim))


def _run(pool: SlotPool, ids: list[int], new: list[int] | None = None) -> tuple[Slot, int]:
    """Lease, compute everything, release; return the slot and what was reused."""
    slot = pool.lease(ids, len(ids) + len(new or []))
    assert slot is not None
    reused = len(slot.tokens)
    pool.store(slot, [*ids, *(new or [])][reused:])
    pool.release(slot)
    return slot, reused


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_the_common_prefix_is_the_longest(first: list[int], second: list[int]) -> None:
    length = common_prefix(first, second)
    assert first[:length] == second[:length]
    assert first[length : length + 1] != second[length : length + 1] or length in (
        len(first),
        len(second),
    )


def test_a_follow_up_gets_its_own_slot_back() -> None:
    pool = _pool()
    first, _ = _run(pool, [1, 2, 3], [4, 5])
    other, _ = _run(pool, [9, 8, 7])
    again, reused = _run(pool, [1, 2, 3, 4, 5, 6])
    assert (again, reused) == (first, 5)
    assert other is not first


def test_the_last_token_is_always_left_to_compute() -> None:
    pool = _pool()
    _run(pool, [1, 2, 3])
    assert _run(pool, [1, 2, 3])[1] == 2


def test_a_short_shared_beginning_is_copied_instead_of_taken() -> None:
    pool = _pool()
    long, _ = _run(pool, [1, 2, *range(10, 50)])
    other, reused = _run(pool, [1, 2, *range(60, 70)])
    assert (other is long, reused) == (False, 2)
    assert len(long.tokens) == 42


def test_a_prefix_is_copied_from_a_busy_slot() -> None:
    pool = _pool()
    busy = pool.lease([1, 2, 3, 4], 4)
    assert busy is not None
    pool.store(busy, [1, 2, 3])
    twin = pool.lease([1, 2, 3, 4], 4)
    assert twin is not None
    assert (twin is busy, twin.tokens) == (False, [1, 2, 3])
    assert pool.lease([1], 1) is None, "no third slot"


def test_the_least_recently_used_slot_makes_way() -> None:
    pool = _pool()
    first, _ = _run(pool, [1] * 5)
    second, _ = _run(pool, [2] * 5)
    assert _run(pool, [3] * 5)[0] is first
    assert _run(pool, [4] * 5)[0] is second


def test_a_memory_that_cannot_be_set_back_is_computed_again() -> None:
    pool = _pool(1, can_trim=False)
    _run(pool, [1, 2, 3, 4])
    assert _run(pool, [1, 2, 9])[1] == 0
    assert not pool.can_rollback
    assert _run(pool, [1, 2, 9, 10])[1] == 3, "going on needs no setting back"


def test_without_rollback_nothing_is_copied() -> None:
    memory = _Memory()
    pool = SlotPool(2, 100, memory, can_rollback=False)
    _run(pool, [1, 2, *range(10, 50)])
    _run(pool, [1, 2, 3])
    assert not [one for one in memory.log if one[0] == "copy"]


def test_a_request_waits_until_its_tokens_have_room() -> None:
    pool = _pool(capacity=10)
    first = pool.lease([1, 2], 6)
    assert first is not None
    assert pool.lease([3], 6) is None
    pool.release(first)
    assert pool.lease([3], 6) is not None


def test_idle_caches_make_room_oldest_first() -> None:
    pool = _pool(3, capacity=10)
    old, _ = _run(pool, [1] * 4)
    young, _ = _run(pool, [2] * 4)
    assert pool.lease([3] * 4, 5) is not None
    assert (old.tokens, len(young.tokens)) == ([], 4)


def test_clear_spares_busy_slots() -> None:
    pool = _pool()
    idle, _ = _run(pool, [1, 2])
    busy = pool.lease([5, 6], 2)
    assert busy is not None
    pool.store(busy, [5])
    pool.clear()
    assert (idle.tokens, busy.tokens) == ([], [5])


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_kept_slot_waits_for_its_session_a_while_and_no_longer() -> None:
    clock = _Clock()
    pool = SlotPool(1, 100, _Memory(), clock=clock)
    slot = pool.lease([1, 2], 4, "a")
    assert slot is not None
    pool.store(slot, [1, 2])
    pool.release(slot, keep=True)
    assert pool.is_held("a")
    assert not pool.is_held("b")
    assert not pool.is_held(None)
    assert pool.lease([9], 1, "b") is None
    assert pool.lease([9], 1) is None
    clock.now = KEEP_S
    assert not pool.is_held("a")
    assert pool.lease([9], 1, "b") is slot


def test_a_kept_cache_counts_as_room_that_is_taken_while_others_run() -> None:
    pool = _pool(3, capacity=10)
    kept = pool.lease([1] * 6, 6, "a")
    running = pool.lease([2], 2)
    assert kept is not None
    assert running is not None
    pool.store(kept, [1] * 6)
    pool.release(kept, keep=True)
    assert pool.lease([3] * 3, 4) is None
    pool.release(running)
    assert pool.lease([3] * 3, 8) is not None, "alone, a request may have all the room"
    assert kept.tokens == []


def test_a_shared_beginning_takes_its_room_once() -> None:
    pool = _pool(4, capacity=30)
    beginning = list(range(20))
    first = pool.lease([*beginning, 100], 22)
    assert first is not None
    pool.store(first, [*beginning, 100])
    for post in (101, 102, 103):
        slot = pool.lease([*beginning, post], 22)
        assert slot is not None
        assert slot.tokens == beginning
    assert len({cell for one in pool._slots for cell in one.cells}) == 21


def test_clear_empties_kept_slots_too() -> None:
    pool = _pool()
    slot = pool.lease([1, 2], 2, "a")
    assert slot is not None
    pool.store(slot, [1, 2])
    pool.release(slot, keep=True)
    pool.clear()
    assert slot.tokens == []
    assert not pool.is_held("a")
