"""The keys and values of a batch that answers: written in place, while rows leave and others enter.

transformers' own growing cache copies all of itself at every token, and once more when a row leaves; its static one
cannot change its rows.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

BLOCK = 32  # columns by which a layer grows


class BlockLayer(DynamicLayer):
    """One attention layer: contiguous buffers (rows, heads, columns, head size), of which `rows` and `used` count.

    Attention is given all columns, and masks those that are not used yet: a strided view was measured a third slower
    on a CPU. What a sliding window does not see is masked, too.
    """

    keys: Any
    values: Any

    def __init__(self, rows: int, is_sliding: bool):
        """rows: the most there will be."""
        super().__init__()
        self.most, self.is_sliding, self.rows, self.used = rows, is_sliding, rows, 0

    @property
    def columns(self) -> int:
        return self.keys.size(2) if self.keys is not None else 0

    def columns_for(self, more: int) -> int:
        """Columns when `more` tokens are written."""
        return max(self.columns, -(-(self.used + more) // BLOCK) * BLOCK)

    def update(self, key_states, value_states, *args, **kwargs):
        """Write new keys and values (rows, heads, n, head size); returns those that attention shall see."""
        n = key_states.size(2)
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            self.rows, self.keys, self.values = len(key_states), key_states, value_states
            self._copy(0, n)
            self.keys[: self.rows, :, :n], self.values[: self.rows, :, :n] = key_states, value_states
            self.used = n
            return key_states, value_states
        if self.columns_for(n) > self.columns:
            self._copy(0, n)
        for x, new in ((self.keys, key_states), (self.values, value_states)):
            x[: self.rows, :, self.used : self.used + n] = new
        self.used += n
        return self.keys[: self.rows], self.values[: self.rows]

    def _copy(self, first, more):
        """New buffers, from column `first` on and with room for `more`; zeros, because 0 x NaN is NaN."""
        columns = -(-(self.used - first + more) // BLOCK) * BLOCK
        kept = [x[: self.rows, :, first : self.used] for x in (self.keys, self.values)]
        self.keys, self.values = (x.new_zeros(self.most, x.size(1), columns, x.size(3)) for x in kept)
        self.used -= first
        self.keys[: self.rows, :, : self.used], self.values[: self.rows, :, : self.used] = kept

    def get_mask_sizes(self, query_length):
        return (self.columns_for(query_length) if self.used else query_length), 0

    def get_seq_length(self):
        return self.used

    def keep(self, rows: Sequence[int]) -> None:
        moved = [(to, row) for to, row in enumerate(rows) if to != row]
        for x in (self.keys, self.values) if moved else ():
            x[[to for to, _ in moved], :, : self.used] = x[[row for _, row in moved], :, : self.used]
        self.rows = len(rows)

    def join(self, other: "BlockLayer") -> None:
        here, columns = slice(self.rows, self.rows + other.rows), slice(self.used - other.used, self.used)
        for x, new in ((self.keys, other.keys), (self.values, other.values)):
            x[here, :, columns] = new[: other.rows, :, : other.used]
        self.rows += other.rows

    def shift(self, columns: int) -> None:
        self._copy(columns, 1)


class BlockCache(DynamicCache):
    """A transformers cache of BlockLayers; layers that are not attention (Mamba ...) stay transformers' own."""

    def __init__(self, config: Any, rows: int):
        """config: of the model; rows: the most there will be."""
        super().__init__(config=config)
        attention = DynamicLayer, DynamicSlidingWindowLayer
        self.layers: list[Any] = [
            BlockLayer(rows, sliding) if type(layer) in attention else layer
            for layer, sliding in zip(self.layers, self.is_sliding)
        ]

    @property
    def can_join(self) -> bool:
        """Whether rows can enter in the course of the sampling."""
        return all(isinstance(layer, BlockLayer) for layer in self.layers)

    def keep(self, rows: Sequence[int], device: torch.device) -> None:
        """Row i is what row rows[i] was; the others are gone. Only rows that get another place are copied."""
        for layer in self.layers:
            if isinstance(layer, BlockLayer):
                layer.keep(rows)
            else:
                layer.reorder_cache(torch.tensor(rows, device=device))

    def join(self, other: "BlockCache") -> None:
        """Append the rows of `other`, which end in the same column as those here; needs `can_join`."""
        for mine, its in zip(self.layers, other.layers):
            mine.join(its)

    def shift(self, columns: int) -> None:
        """Drop the first columns; needs `can_join`."""
        for layer in self.layers:
            layer.shift(columns)
