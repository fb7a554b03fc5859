"""Which cell of the cache holds which token of which slot: the page table, with pages of one token.

A prefix that two slots share is held once, and setting a slot back or sharing a stretch moves no
data. Cells are numbered over all layers alike; `cache` holds what is in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

_PADDING = 0
"""A cell that nobody owns and that stays zero: what a shorter row is filled up with."""
_FIRST_CELLS = 256


class Cells:
    """The table of all slots; it grows by doubling.

    Args:
        slots: How many slots there are.
        slot_tokens: The most tokens that one slot holds.
    """

    def __init__(self, slots: int, slot_tokens: int) -> None:
        self._table = np.zeros((slots, slot_tokens), dtype=np.int64)
        self._lengths = [0] * slots
        self._users = np.zeros(_FIRST_CELLS, dtype=np.int32)
        self._free = list(range(_FIRST_CELLS - 1, _PADDING, -1))

    @property
    def count(self) -> int:
        """How many cells there are, free ones and the padding included."""
        return len(self._users)

    @property
    def in_use(self) -> int:
        """How many cells hold a token."""
        return self.count - len(self._free) - 1

    def length(self, slot: int) -> int:
        """Return how many tokens a slot holds."""
        return self._lengths[slot]

    def extend(self, slots: Sequence[int], count: int) -> Indices:
        """Give each of `slots` room for `count` tokens more; shape `(len(slots), count)`."""
        wanted = len(slots) * count
        while len(self._free) < wanted:
            size = self.count
            self._users = np.concatenate([self._users, np.zeros(size, dtype=np.int32)])
            self._free[:0] = range(2 * size - 1, size - 1, -1)
        taken = np.array(self._free[-wanted:][::-1], dtype=np.int64).reshape(len(slots), count)
        del self._free[-wanted:]
        self._users[taken] = 1
        for slot, cells in zip(slots, taken, strict=True):
            start = self._lengths[slot]
            self._table[slot, start : start + count] = cells
            self._lengths[slot] = start + count
        return taken

    def trim(self, slot: int, length: int) -> None:
        """Keep the first `length` tokens of a slot."""
        cells = self._table[slot, length : self._lengths[slot]]
        self._users[cells] -= 1
        self._free += cells[self._users[cells] == 0].tolist()
        self._lengths[slot] = min(length, self._lengths[slot])

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Share the tokens `start` to `end` of `source` with `target`, which ends at `start`."""
        cells = self._table[source, start:end]
        self._table[target, start:end] = cells
        self._users[cells] += 1
        self._lengths[target] = end

    def rows(self, slots: Sequence[int]) -> tuple[Indices, NDArray[np.bool_] | None]:
        """Return the cells of `slots`, shorter rows filled up on the left, and which are no filling.

        The second array is None where nothing is filled up.
        """
        lengths = [self._lengths[slot] for slot in slots]
        longest = max(lengths)
        cells = np.full((len(slots), longest), _PADDING, dtype=np.int64)
        is_real = np.zeros((len(slots), longest), dtype=np.bool_)
        for row, (slot, length) in enumerate(zip(slots, lengths, strict=True)):
            cells[row, longest - length :] = self._table[slot, :length]
            is_real[row, longest - length :] = True
        return cells, None if min(lengths) == longest else is_real
