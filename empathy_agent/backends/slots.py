"""Which cached prefix serves which request: slots, one per parallel sequence of a model's memory.

A request leases an idle slot and keeps what the slot's cached tokens have in common with its own;
only the rest is computed. Where another slot knows a longer prefix (the same system prompt, a
busy twin) it is shared, which takes no room in a unified cache. A slot whose session goes on at
once is kept for it a short while, so that a chain under way loses its cache to nobody. The pool
keeps all slots together within the memory's capacity: a request that does not fit beside the
running ones waits, and the oldest idle caches make room. Pure bookkeeping: the memory itself sits
behind a two-method protocol, so that the fake counts exactly as the real one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

KEEP_S = 1.0
"""How long a slot is kept for a session that said it goes on; its next node takes milliseconds."""


class Memory(Protocol):
    """The cache that the pool keeps the books of."""

    def trim(self, slot: int, length: int) -> bool:
        """Keep a slot's first `length` tokens; False where it cannot, which 0 never is."""

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Share the tokens `start` to `end` of `source` with `target`, which ends at `start`."""


@dataclass(eq=False)
class Slot:
    """One sequence: the tokens that the memory holds for it, in order."""

    index: int
    tokens: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    """For each token the place it takes in the memory; a shared prefix shares its places."""
    reserved: int = 0
    """Tokens the running request may come to need; 0 while the slot is idle."""
    used: int = 0
    """When it was last released, as a count of releases."""
    session: str | None = None
    """Whose slot this is, while it runs or is kept."""
    kept_until: float = 0.0
    """Until when an idle slot is kept for its session, on the pool's clock."""


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
        self,
        count: int,
        capacity: int,
        memory: Memory,
        *,
        can_rollback: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slots = [Slot(index) for index in range(count)]
        self._capacity = capacity
        self._memory = memory
        self._clock = clock
        self._releases = 0
        self._cells = 0
        self.can_rollback = can_rollback
        """False where the memory cannot be set back, or once it refused: nothing is shared then."""

    def lease(self, ids: list[int], reserve: int, session: str | None = None) -> Slot | None:
        """Return a slot whose `tokens` are a proper prefix of `ids`, or None to wait.

        Args:
            ids: The prompt.
            reserve: Tokens that prompt and completion may need together, at most the capacity.
            session: The session of the request; a slot that is kept for it comes first.
        """
        busy = [slot for slot in self._slots if slot.reserved]
        kept = [slot for slot in self._slots if self._is_kept(slot)]
        free = [slot for slot in self._slots if not slot.reserved and slot not in kept]
        own = [slot for slot in kept if slot.session == session]
        if not (candidates := own or free):
            return None
        # The last token is computed even where it is cached: its logits choose the first new one.
        shared = {
            slot.index: min(common_prefix(slot.tokens, ids), len(ids) - 1) for slot in self._slots
        }
        target = self._choose(candidates, shared)
        source = max(self._slots, key=lambda slot: shared[slot.index])
        others = [slot for slot in (*busy, *kept) if slot is not target]
        needed = reserve - (shared[source.index] if source in others and self.can_rollback else 0)
        if busy and self._committed(others) + needed > self._capacity:
            return None
        self._trim(target, shared[target.index])
        self.share(source, target, shared[source.index])
        target.reserved, target.session, target.kept_until = max(reserve, 1), session, 0.0
        self._make_room(target)
        return target

    def store(self, slot: Slot, tokens: Sequence[int]) -> None:
        """Enter tokens that the memory holds now, after the ones it held."""
        slot.tokens.extend(tokens)
        slot.cells.extend(range(self._cells, self._cells + len(tokens)))
        self._cells += len(tokens)

    def share(self, source: Slot, target: Slot, length: int) -> None:
        """Give `target`, whose tokens are a prefix of it, the first `length` tokens of `source`."""
        start = len(target.tokens)
        if length <= start or not self.can_rollback:
            return
        self._memory.copy(source.index, target.index, start, length)
        target.tokens += source.tokens[start:length]
        target.cells += source.cells[start:length]

    def release(self, slot: Slot, *, keep: bool = False) -> None:
        """Give a slot back; its tokens stay cached, and are kept a while for its session."""
        self._releases += 1
        slot.used, slot.reserved = self._releases, 0
        slot.kept_until = self._clock() + KEEP_S if keep and slot.session is not None else 0.0

    def is_held(self, session: str | None) -> bool:
        """Return whether an idle slot is kept for `session`; safe from any thread."""
        return session is not None and any(
            slot.session == session and self._is_kept(slot) for slot in self._slots
        )

    def clear(self) -> None:
        """Empty all idle slots."""
        for slot in self._slots:
            if not slot.reserved:
                slot.kept_until = 0.0
                self.forget(slot)

    def forget(self, slot: Slot) -> None:
        """Empty a slot whose memory is in doubt."""
        self._memory.trim(slot.index, 0)
        slot.tokens.clear()
        slot.cells.clear()

    def _is_kept(self, slot: Slot) -> bool:
        return not slot.reserved and self._clock() < slot.kept_until

    def _choose(self, candidates: list[Slot], shared: dict[int, int]) -> Slot:
        """Take the best match, unless most of another conversation would be thrown away."""
        best = max(candidates, key=lambda slot: shared[slot.index])
        if shared[best.index] and shared[best.index] * 2 >= len(best.tokens):
            return best
        return min(candidates, key=lambda slot: (bool(slot.tokens), slot.used))

    def _committed(self, slots: Iterable[Slot]) -> int:
        """Return the tokens that these slots hold, shared ones once, and may still come to need."""
        slots = list(slots)
        held = len({cell for slot in slots for cell in slot.cells})
        return held + sum(max(slot.reserved - len(slot.tokens), 0) for slot in slots)

    def _trim(self, slot: Slot, length: int) -> None:
        if length == len(slot.tokens):
            return
        if not self._memory.trim(slot.index, length):
            self.can_rollback = False
            self._memory.trim(slot.index, 0)
            length = 0
        del slot.tokens[length:], slot.cells[length:]

    def _make_room(self, target: Slot) -> None:
        """Empty the oldest idle slots, kept ones last, until all that runs fits."""
        idle = [slot for slot in self._slots if not slot.reserved and slot.tokens]
        for slot in sorted(idle, key=lambda slot: (self._is_kept(slot), slot.used)):
            if self._committed(self._slots) <= self._capacity:
                return
            self._trim(slot, 0)
