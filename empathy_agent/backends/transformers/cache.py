"""What the model computed, in transformers' cache protocol: keys and values by cell, not by row.

transformers' own caches hold one batch whose rows grow together. Ours holds the tokens of all slots
in one tensor a layer, and for each forward pass hands the attention the rows that take part:
`open_step` enters the new tokens into the table, `update` writes them and gathers the rows. Rows of
different lengths are filled up on the left, as `generate` does for a batch, so every mask that
transformers knows (sliding windows, chunks) holds without a line of ours. Layers with a window
keep all their tokens, which is why they can be set back too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DummyLayer

from empathy_agent.backends.transformers.cells import Cells, Indices


@dataclass
class Step:
    """One forward pass: where its tokens go and what its rows see."""

    written: Indices
    """The new cells, `(rows, tokens)`."""
    read: Indices
    """All cells of the rows, the new ones included, `(rows, length)`."""
    mask: torch.Tensor | None
    """False for what only fills a row up, `(rows, length)`; None where nothing does."""
    _on_device: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def indices(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `written` and `read`, flat, on a layer's device."""
        if device not in self._on_device:
            written, read = (torch.from_numpy(one.ravel()) for one in (self.written, self.read))
            self._on_device[device] = written.to(device), read.to(device)
        return self._on_device[device]


class CellLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # untyped in transformers
    """One layer's keys and values, each `(cells, heads, head size)`."""

    is_sliding = False

    def __init__(self, cells: Cells) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cells = cells
        self.step: Step | None = None

    @property
    def token_bytes(self) -> int:
        """The bytes of one token; 0 where the layer was never used."""
        stores = [one for one in (self.keys, self.values) if one is not None]
        return sum(one[0].numel() * one.element_size() for one in stores)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate the cells."""
        self.keys, self.values = (
            one.new_zeros((self._cells.count, one.shape[1], one.shape[3]))
            for one in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new tokens, each `(rows, heads, tokens, head size)`; return the whole rows."""
        if self.keys is None or self.values is None:
            self.lazy_initialization(key_states, value_states)
        self.keys, keys = self._exchange(self.keys, key_states)
        self.values, values = self._exchange(self.values, value_states)
        return keys, values

    def _exchange(
        self, store: torch.Tensor | None, new: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert store is not None
        assert self.step is not None
        if len(store) < self._cells.count:
            missing = self._cells.count - len(store)
            store = torch.cat([store, store.new_zeros((missing, *store.shape[1:]))])
        written, read = self.step.indices(new.device)
        store.index_copy_(0, written, new.transpose(1, 2).flatten(0, 1))
        rows = store.index_select(0, read)
        return store, rows.view(*self.step.read.shape, *rows.shape[1:]).transpose(1, 2)

    def get_seq_length(self) -> int:
        """Return the columns before the new tokens, filling included."""
        if self.step is None:
            return 0
        return int(self.step.read.shape[1] - self.step.written.shape[1])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many columns the attention sees, and at which it begins."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """Return -1: the cells grow."""
        return -1


class CellCache(Cache):
    """The cache of all slots.

    Args:
        has_store: For each layer whether it keeps keys and values of its own.
        slots: How many slots there are.
        slot_tokens: The most tokens that one slot holds.
    """

    def __init__(self, has_store: Sequence[bool], slots: int, slot_tokens: int) -> None:
        self.cells = Cells(slots, slot_tokens)
        self._stores = [CellLayer(self.cells) for one in has_store if one]
        stores = iter(self._stores)
        dummy: Any = DummyLayer
        super().__init__(layers=[next(stores) if one else dummy() for one in has_store])

    @property
    def token_bytes(self) -> int:
        """The bytes of one token over all layers."""
        return sum(layer.token_bytes for layer in self._stores)

    @property
    def is_whole(self) -> bool:
        """Whether every layer that should has computed something."""
        return all(layer.token_bytes for layer in self._stores)

    @contextmanager
    def open_step(self, slots: Sequence[int], count: int) -> Iterator[Step]:
        """Enter `count` new tokens for each of `slots`, for one forward pass.

        Where the pass fails, the slots are as they were.
        """
        before = [self.cells.length(slot) for slot in slots]
        written = self.cells.extend(slots, count)
        read, is_real = self.cells.rows(slots)
        step = Step(written, read, None if is_real is None else torch.from_numpy(is_real))
        for layer in self._stores:
            layer.step = step
        try:
            yield step
        except BaseException:
            for slot, length in zip(slots, before, strict=True):
                self.cells.trim(slot, length)
            raise
        finally:
            for layer in self._stores:
                layer.step = None
