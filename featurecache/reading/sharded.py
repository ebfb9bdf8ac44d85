"""One array over the files of a split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ShardedArray:
    """One column over all shards of a split, read like a NumPy array along its rows.

    parts: the shards' memory maps in row order. A slice inside one shard is a view; everything else is copied.
    """

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        self._parts = list(parts)
        self._bounds = np.cumsum([0, *(len(part) for part in parts)])
        self.dtype = parts[0].dtype
        self.shape: tuple[int, ...] = (int(self._bounds[-1]), *parts[0].shape[1:])

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | Sequence[int] | NDArray[Any]) -> Any:
        """Rows by number, slice, list or array of numbers, or boolean mask."""
        if isinstance(rows, slice):
            return self._slice(rows)
        if isinstance(rows, tuple):
            raise IndexError(f"{len(rows)} indices; expected rows only: take columns of what comes back")
        wanted = np.asarray(rows)
        if wanted.dtype == bool:
            if wanted.shape != (len(self),):
                raise IndexError(f"mask of shape {wanted.shape} for {len(self)} rows")
            wanted = np.flatnonzero(wanted)
        if wanted.size and wanted.dtype.kind not in "iu":
            raise IndexError(f"rows are {wanted.dtype}; expected integers, a slice or a boolean mask")
        flat = wanted.ravel().astype(np.int64)
        flat = np.where(flat < 0, flat + len(self), flat)
        if len(flat) and (flat.min() < 0 or flat.max() >= len(self)):
            bad = wanted.ravel()[(flat < 0) | (flat >= len(self))][0]
            raise IndexError(f"row {int(bad)} of {len(self)} rows")
        if len(self._parts) == 1:
            return self._parts[0][flat].reshape(*wanted.shape, *self.shape[1:])
        out = np.empty((len(flat), *self.shape[1:]), dtype=self.dtype)
        shard = np.searchsorted(self._bounds, flat, side="right") - 1
        for number in np.unique(shard):
            here = shard == number
            out[here] = self._parts[number][flat[here] - self._bounds[number]]
        return out.reshape(*wanted.shape, *self.shape[1:])

    def _slice(self, rows: slice) -> NDArray[Any]:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            return np.asarray(self[np.arange(start, stop, step)])
        pieces = [
            part[max(start - low, 0) : max(stop - low, 0)]
            for low, part in zip(self._bounds[:-1].tolist(), self._parts, strict=True)
            if start < low + len(part) and stop > low
        ]
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else self._parts[0][:0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array over several files cannot be had without a copy")
        return np.concatenate(self._parts).astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"ShardedArray(shape={self.shape}, dtype={self.dtype}, shards={len(self._parts)})"
