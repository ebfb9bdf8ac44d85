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

BLOCK_BYTES = 32 * 2**20  # large enough that a product fills the cores, small next to any memory


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
    features: Features, *, device: torch.device | None = None, rows: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The rows in order as ``(slice, float32 tensor)`` pairs.

    features: (N, D), any float type. float16 is upcast here: multiplying it on a CPU is 35 times slower.
    device: where the blocks are wanted; by default where a tensor lies, the CPU for everything else.
    rows: rows a block; by default about 32 MiB of float32.
    """
    step = rows or max(1, BLOCK_BYTES // (4 * max(1, width(features))))
    target = device or (features.device if isinstance(features, Tensor) else torch.device("cpu"))
    for start in range(0, len(features), step):
        part = slice(start, min(start + step, len(features)))
        block = features[part]
        if not isinstance(block, Tensor):
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused by its row
                # A read-only memory map would make torch warn; the upcast copies anyway where it is needed.
                block = torch.from_numpy(np.array(block, dtype=np.float32, copy=True))
        yield part, block.detach().to(target, torch.float32)


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
