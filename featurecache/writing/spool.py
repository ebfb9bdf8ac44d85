"""Blocks whose number nobody knows, kept on the disk until the last one has come."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from featurecache import layout
from featurecache.storage import IdColumn, NumberedIds, as_array, check_labels, encode_ids, to_storage

KEYS = {"features", "labels", "logits", "sample_id"}


class Spool:
    """A context manager that takes blocks and gives their columns as arrays mapped from temporary files.

    cache: the folder that is to be made; the files lie beside or in it. dtype: of the stored features.
    """

    def __init__(self, cache: Path, dtype: str) -> None:
        self._near = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
        self._dtype, self._rows = dtype, 0
        self._files: dict[str, BinaryIO] = {}
        self._widths: dict[str, int] = {}
        self._labels: list[NDArray[np.int64]] = []
        self._ids: list[NDArray[np.bytes_]] = []
        self._keys: set[str] | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def fill(self, blocks: Iterator[Mapping[str, Any]]) -> None:
        """Take all blocks. ValueError naming the first one that does not fit those before it."""
        for number, block in enumerate(blocks):
            try:
                self._take(_columns(block))
            except ValueError as error:
                raise ValueError(f"block {number}: {error}") from error
        if not self._rows:
            raise ValueError("no block with a row came; a split without rows cannot be cached")

    def _take(self, block: dict[str, Any]) -> None:
        keys = set(block)
        if not {"features", "labels"} <= keys <= KEYS or keys != (self._keys or keys):
            expected = "features, labels and perhaps logits and sample_id, the same in all blocks"
            raise ValueError(f"it holds {', '.join(sorted(map(str, keys)))[:200] or 'nothing'}; expected {expected}")
        self._keys = keys
        labels = check_labels(block["labels"])
        ids = encode_ids(block["sample_id"]) if "sample_id" in block else None
        if ids is not None and len(ids) != len(labels):
            raise ValueError(f"{len(ids)} sample ids for {len(labels)} labels; expected one a row")
        shown = NumberedIds(self._rows + len(labels))[self._rows :] if ids is None else ids
        for name, dtype in (("features", self._dtype), ("logits", "float32")):
            if name in block:
                self._append(name, to_storage(self._checked(name, block[name], len(labels)), dtype, shown, what=name))
        self._labels.append(labels)
        self._ids += [] if ids is None else [ids]
        self._rows += len(labels)

    def _checked(self, name: str, values: NDArray[Any], rows: int) -> NDArray[Any]:
        kinds = "f" if name == "features" else "fiu"
        width = self._widths.get(name)
        fits = values.ndim == 2 and len(values) == rows and values.shape[1] > 0 and values.dtype.kind in kinds
        if not fits or width not in (None, values.shape[1]):
            raise ValueError(
                f"{name} are {values.dtype} of shape {values.shape}; expected numbers ({rows}, {width or 'D'})"
            )
        limit = layout.MAX_WIDTH if name == "features" else layout.MAX_CLASSES
        if values.shape[1] > limit:
            raise ValueError(f"{name} have shape {values.shape}; expected at most {limit} columns")
        self._widths[name] = values.shape[1]
        return values

    def _append(self, name: str, values: NDArray[Any]) -> None:
        if name not in self._files:
            self._files[name] = self._open.enter_context(_unnamed(self._near))
        self._files[name].write(np.ascontiguousarray(values).data)

    def _mapped(self, name: str, dtype: str) -> NDArray[Any]:
        file = self._files[name]
        file.flush()
        return np.memmap(file, dtype, "r", shape=(self._rows, self._widths[name]))

    @property
    def features(self) -> NDArray[Any]:
        """(N, D), as they will be stored."""
        return self._mapped("features", self._dtype)

    @property
    def logits(self) -> NDArray[Any] | None:
        """(N, K) float32, or None."""
        return self._mapped("logits", "float32") if "logits" in self._files else None

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,)."""
        return np.concatenate(self._labels)

    def ids(self, views: int) -> IdColumn:
        """(N,), by default the numbers of the images. views: of every image."""
        return np.concatenate(self._ids) if self._ids else NumberedIds(self._rows, views)


def _columns(block: Any) -> dict[str, Any]:
    """A block's columns as arrays; the names as they are, for an array of text loses what a name ends in."""
    if not isinstance(block, Mapping):
        raise ValueError(f"it is a {type(block).__name__[:80]}; expected a mapping with features and labels")
    return {
        name: values if name == "sample_id" else as_array(values)
        for name, values in block.items()
        if values is not None
    }


def _unnamed(folder: Path) -> BinaryIO:
    """A file that is gone when it is closed, whatever happens."""
    return tempfile.TemporaryFile(dir=folder)
