"""Which cached prefix serves which request: slots, one per parallel sequence of a model's memory.

A request leases an idle slot and keeps what the slot's cached tokens have in common with its own;
only the rest is computed. Where another slot knows a longer prefix (the same system prompt, a
busy twin) it is copied over, which costs nothing in a unified cache. The pool also keeps all
slots together within the memory's capacity: a request that does not fit beside the running ones
waits, and the oldest idle caches make room. Pure bookkeeping: the memory itself sits behind a
three-method protocol, so that the fake counts exactly as the real one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Memory(Protocol):
    """The cache that the pool keeps the books of."""

    def trim(self, slot: int, length: int) -> bool:
        """Keep a slot's first `length` tokens; False where it cannot, which 0 never is."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` tokens of `source` the content of the empty slot `target`."""


@dataclass(eq=False)
class Slot:
    """One sequence: the tokens that the memory holds for it, in order."""

    index: int
    tokens: list[int] = field(default_factory=list)
    reserved: int = 0
    """Tokens the running request may come to need; 0 while the slot is idle."""
    used: int = 0
    """When it was last released, as a count of releases."""


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many leading tokens `first` and `second` share."""
    limit = min(len(first), len(second))
    if first[:limit] == second[:limit]:
        return limit
    low, high = 0, limit  # the slice of length `low` is equal, that of length `high` is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle)
    return low


class SlotPool:
    """Leases slots by longest common prefix, least recently used otherwise."""

    def __init__(
        self, count: int, capacity: int, memory: Memory, *, can_rollback: bool = True
    ) -> None:
        self._slots = [Slot(index) for index in range(count)]
        self._capacity = capacity
        self._memory = memory
        self._clock = 0
        self.can_rollback = can_rollback
        """False where the memory cannot be set back, or once it refused: nothing is copied then."""

    def lease(self, ids: list[int], reserve: int) -> Slot | None:
        """Return a slot whose `tokens` are a proper prefix of `ids`, or None to wait.

        Args:
            ids: The prompt.
            reserve: Tokens that prompt and completion may need together, at most the capacity.
        """
        running = sum(slot.reserved for slot in self._slots)
        idle = [slot for slot in self._slots if not slot.reserved]
        if not idle or running + reserve > self._capacity:
            return None
        # The last token is computed even where it is cached: its logits choose the first new one.
        shared = {
            slot.index: min(common_prefix(slot.tokens, ids), len(ids) - 1) for slot in self._slots
        }
        target = self._choose(idle, shared)
        source = max(self._slots, key=lambda slot: shared[slot.index])
        if self.can_rollback and shared[source.index] > shared[target.index]:
            self._trim(target, 0)
            self._memory.copy(source.index, target.index, shared[source.index])
            target.tokens = list(ids[: shared[source.index]])
        else:
            self._trim(target, shared[target.index])
        target.reserved = max(reserve, 1)
        self._make_room()
        return target

    def release(self, slot: Slot) -> None:
        """Give a slot back; its tokens stay cached."""
        self._clock += 1
        slot.used, slot.reserved = self._clock, 0

    def clear(self) -> None:
        """Empty all idle slots."""
        for slot in self._slots:
            if not slot.reserved:
                self.forget(slot)

    def forget(self, slot: Slot) -> None:
        """Empty a slot whose memory is in doubt."""
        self._memory.trim(slot.index, 0)
        slot.tokens.clear()

    def _choose(self, idle: list[Slot], shared: dict[int, int]) -> Slot:
        """Take the best match, unless most of another conversation would be thrown away."""
        best = max(idle, key=lambda slot: shared[slot.index])
        if shared[best.index] and shared[best.index] * 2 >= len(best.tokens):
            return best
        return min(idle, key=lambda slot: (bool(slot.tokens), slot.used))

    def _trim(self, slot: Slot, length: int) -> None:
        if length == len(slot.tokens):
            return
        if not self._memory.trim(slot.index, length):
            self.can_rollback = False
            self._memory.trim(slot.index, 0)
            length = 0
        del slot.tokens[length:]

    def _make_room(self) -> None:
        oldest = sorted((slot for slot in self._slots if not slot.reserved), key=lambda s: s.used)
        for slot in oldest:
            # Shared cells are counted once per slot, so this errs on the side of room.
            held = sum(slot.reserved or len(slot.tokens) for slot in self._slots)
            if held <= self._capacity:
                return
            self._trim(slot, 0)
