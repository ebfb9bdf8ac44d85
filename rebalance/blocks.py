"""Read the rows of any array in float32 blocks.

Features come as a tensor, a NumPy memory map or another array-like that is larger than memory, in float16 as
often as not. Everything here asks for three things only: ``shape``, ``len`` and slices of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from rebalance import ranks

# Large enough that a product fills the cores; small enough for the C library to hand the same memory out again: above
# 32 MiB every block would come fresh from the system, and the page faults cost more than the product.
BLOCK_BYTES = 8 * 2**20


@runtime_checkable
class Rows(Protocol):
    """An array-like of rows: ``shape``, ``len`` and ``rows[start:stop]`` convertible to a NumPy array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


Features: TypeAlias = Tensor | Rows
"""``(N, D)`` rows of any float type: a tensor, a NumPy array or memory map, or an array-like read in slices."""

Labels: TypeAlias = Tensor | Rows
"""``(N,)`` class ids, -1 where there is none."""


def as_labels(labels: Labels) -> Tensor:
    """The labels as an int64 tensor (N,); ValueError when they are not integers in one dimension."""
    if not isinstance(labels, Tensor):
        array = np.asarray(labels[0 : len(labels)])
        if array.dtype.kind not in "iu":
            raise ValueError(f"labels are {array.dtype}; expected integers (class ids, -1 where there is none)")
        labels = torch.from_numpy(array.astype(np.int64))
    if labels.ndim != 1:
        raise ValueError(f"labels have shape {tuple(labels.shape)}; expected one dimension, one class id a row")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels are {labels.dtype}; expected integers (class ids, -1 where there is none)")
    return labels.to(torch.int64)


def width(features: Features) -> int:
    """The number of columns D of two-dimensional features; ValueError otherwise."""
    if len(features.shape) != 2:
        raise ValueError(f"features have shape {tuple(features.shape)}; expected (N, D), one row a sample")
    return int(features.shape[1])


def blocks(
    features: Features, *, device: torch.device | None = None, rows: int | None = None, columns: int = 0
) -> Iterator[tuple[slice, Tensor]]:
    """The rows in order as ``(slice, float32 tensor)`` pairs.

    features: (N, D), any float type. float16 is upcast here: multiplying it on a CPU is 35 times slower.
    device: where the blocks are wanted; by default where a tensor lies, the CPU for everything else.
    rows: rows a block; by default about 8 MiB of float32. columns: the width of what is made of a block, where that
    may be wider than the features: logits of many classes.
    """
    step = rows or max(1, BLOCK_BYTES // (4 * max(1, width(features), columns)))
    target = device or (features.device if isinstance(features, Tensor) else torch.device("cpu"))
    for start in range(0, len(features), step):
        part = slice(start, min(start + step, len(features)))
        block = features[part]
        yield part, _as_tensor(block).detach().to(target).to(torch.float32)


def own_blocks(
    features: Features, *, device: torch.device | None = None, rows: int | None = None, columns: int = 0
) -> Iterator[tuple[slice, Tensor]]:
    """Like `blocks`, but only of the rows that this rank reads (see rebalance.ranks); the slices count all rows."""
    part = ranks.window(len(features))
    for inner, block in blocks(window(features, part), device=device, rows=rows, columns=columns):
        yield slice(part.start + inner.start, part.start + inner.stop), block


def _as_tensor(block: Any) -> Tensor:
    """The block as a tensor of its own type where torch has that; no view of memory that may not be written."""
    if isinstance(block, Tensor):
        return block
    array = np.asarray(block)
    if array.dtype in (np.float16, np.float32, np.float64):
        # Copied as it is and converted by torch: NumPy converts float16 one number at a time. (A read-only array as it
        # is would make torch warn.)
        return torch.from_numpy(np.array(array, copy=True, order="C"))
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused by its row
        return torch.from_numpy(array.astype(np.float32))


def product_type(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32, with sums in float32; else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


class Window:
    """A contiguous range of an array-like's rows, read through it.

    rows: the array-like. part: the range, start and stop given.
    """

    def __init__(self, rows: Rows, part: slice) -> None:
        self._rows, self._start = rows, part.start
        self.shape: tuple[int, ...] = (part.stop - part.start, *rows.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> Any:
        if not isinstance(rows, slice):
            return self._rows[self._start + rows]
        start, stop, _ = rows.indices(len(self))
        return self._rows[self._start + start : self._start + stop]


def window(features: Features, part: slice) -> Features:
    """The rows of a contiguous range, without a copy; the features themselves where it covers them."""
    if part == slice(0, len(features)):
        return features
    return features[part] if isinstance(features, Tensor) else Window(features, part)


def take(features: Features, rows: Tensor) -> Tensor:
    """Some rows in the order asked for, as a float32 tensor (B, D) where the features lie (the CPU for arrays).

    rows: (B,) row numbers, on the CPU for anything but a tensor. What has nothing but slices is read row by row.
    """
    if isinstance(features, Tensor):
        return features.detach()[rows.to(features.device)].to(torch.float32)
    wanted = rows.numpy()
    try:
        found = np.asarray(features[wanted])  # type: ignore[index]  # more than the protocol promises: tried first
    except (TypeError, IndexError, AttributeError):
        parts = [np.asarray(features[row : row + 1]) for row in wanted.tolist()]
        found = np.concatenate(parts or [np.asarray(features[0:0])])
    return _as_tensor(found).to(torch.float32)


def first_bad_row(features: Features) -> int | None:
    """The index of the first row that holds NaN or infinity, or None."""
    for part, block in blocks(features):
        bad = (~torch.isfinite(block)).any(dim=1)
        if bool(bad.any()):
            return int(part.start) + int(bad.to(torch.uint8).argmax())
    return None


def refuse_nonfinite(features: Features) -> None:
    """Raise the ValueError that names the first row with NaN or infinity; nothing happens if there is none."""
    row = first_bad_row(features)
    if row is not None:
        raise ValueError(
            f"features row {row} of {len(features)} holds NaN or infinity; expected finite numbers: "
            "extract again (float16 overflows above 65,504: extract with --dtype float32)"
        )
