"""Write shards.

A shard is created at its full size under a temporary name, its columns are filled with positional writes, and it is
renamed when every row is there. HDF5 is called once, to lay out the empty file: appending through it is neither
crash-safe nor faster.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from featurecache import disk, layout
from featurecache.plan import CachePlan


class ShardWriter:
    """One shard being written; a context manager that renames it into place when the block ends well.

    cache: the folder. plan: of the cache. split, shard: which. columns: what it holds (without offsets).
    Leaving the block by an error, or before all rows were written, leaves no file under the final name.
    """

    def __init__(
        self, cache: Path, plan: CachePlan, split: str, shard: int, columns: Mapping[str, layout.Column]
    ) -> None:
        self._final = layout.shard_path(cache, split, shard)
        self._part = disk.part_name(self._final)
        self._rows, self._written = columns["labels"].shape[0], 0
        header = {
            "format": layout.SHARD_FORMAT,
            "schema": list(layout.SCHEMA),
            "split": split,
            "shard": shard,
            "rows": self._rows,
            "columns": {name: _entry(column) for name, column in columns.items()},
            "cache": plan.to_json(only=split),
        }
        block = layout.user_block_size(header)
        self._final.parent.mkdir(exist_ok=True)
        with ExitStack() as undo:
            undo.callback(self._discard)
            self._columns = _create(self._part, columns, block)
            header["columns"] = {name: _entry(column) for name, column in self._columns.items()}
            self._file = os.open(self._part, os.O_RDWR)
            undo.callback(os.close, self._file)
            disk.allocate(self._file, max(column.offset + column.nbytes for column in self._columns.values()))
            disk.write_at(self._file, layout.pack_header(header), 0)
            undo.pop_all()

    def _discard(self) -> None:
        """Remove what is not whole."""
        self._part.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: the split has other files
            self._final.parent.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        try:
            if kind is None:
                if self._written != self._rows:
                    raise ValueError(f"{self._final}: {self._written} of {self._rows} rows were written")
                disk.publish(self._part, self._final)
        finally:
            self._discard()

    def append(self, block: Mapping[str, NDArray[Any]]) -> None:
        """Write the next rows: every column, of its own dtype, (n, …)."""
        rows = len(block["labels"])
        for name, column in self._columns.items():
            data = np.ascontiguousarray(block[name], dtype=column.dtype)
            if data.shape != (rows, *column.shape[1:]):
                raise ValueError(
                    f"{name} has shape {data.shape}; expected {(rows, *column.shape[1:])}: the model's output "
                    "changed between batches"
                )
            disk.write_at(self._file, data.tobytes(), column.offset + self._written * (data.nbytes // max(1, rows)))
        self._written += rows


def start_cache(cache: Path, head: tuple[Tensor, Tensor] | None) -> None:
    """Make the folder and write the head, if they are not there yet."""
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / layout.HEAD_FILE
    # Without cache.json a head is what a refused or stopped attempt left.
    if head is not None and not (file.exists() and (cache / layout.CACHE_FILE).exists()):
        with disk.replacing(file) as part:
            part.write_bytes(save({"weight": head[0].contiguous(), "bias": head[1].contiguous()}))


def _create(part: Path, columns: Mapping[str, layout.Column], user_block: int) -> dict[str, layout.Column]:
    """Lay out the empty HDF5 file and say where its columns lie."""
    creation, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    creation.set_userblock(user_block)
    creation.set_obj_track_times(False)  # of the root group
    # v108: checksummed metadata, and no "open for writing" flag that a killed writer would leave set.
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V18)
    access.set_alignment(1, layout.ALIGNMENT)
    dataset = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    dataset.set_layout(h5py.h5d.CONTIGUOUS)
    dataset.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    dataset.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    dataset.set_obj_track_times(False)  # or two equal files would differ
    file = h5py.h5f.create(os.fsencode(part), h5py.h5f.ACC_TRUNC, fcpl=creation, fapl=access)
    placed = {}
    try:
        for name, column in columns.items():
            text = column.dtype.kind == "S"
            kind = h5py.string_dtype("utf-8", column.dtype.itemsize) if text else column.dtype
            space = h5py.h5s.create_simple(column.shape)
            made = h5py.h5d.create(file, name.encode(), h5py.h5t.py_create(kind, logical=True), space, dataset)
            placed[name] = layout.Column(column.dtype, column.shape, made.get_offset())
    finally:
        file.close()
    return placed


def _entry(column: layout.Column) -> dict[str, Any]:
    return {"dtype": column.dtype.str, "shape": list(column.shape), "offset": column.offset}
