"""The rows of a split as the extraction reads them: what is said of them before any is loaded, and each of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from featurecache.inputs import each
from featurecache.storage import (
    SAMPLED,
    IdColumn,
    NumberedIds,
    as_array,
    check_labels,
    data_digest,
    encode_ids,
)
from featurecache.unreadable import Unreadable

FEW = 8  # rows that stand for a data set that does not say what is in it
MANY = 2**16  # ids that are made at once


@dataclass(frozen=True)
class Batch:
    """What a model is given for some rows.

    inputs: whatever the model takes, None where no row could be read. labels: int64 (B,), -1 where a row could not.
    unreadable: (B,) bool. reasons: one line for each of those rows.
    """

    inputs: Any
    labels: Tensor
    unreadable: NDArray[np.bool_]
    reasons: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def pin_memory(self) -> Batch:
        """The same batch where a copy to a CUDA device need not wait. Called by the DataLoader."""
        return replace(self, inputs=each(self.inputs, Tensor.pin_memory))


class Rows(Dataset[Any]):
    """The rows of a split, each drawing from generators seeded for it: alike in any order, worker and process.

    name: of the split. data: (input, label) items, and where it has them `sample_ids`, `labels`, `class_names` and
    `collate`. seed: of the extraction. views: of every item; row r is view r div N of item r mod N. skip: items that
    cannot be read are passed over.
    ValueError when there are no items, or not as many ids or labels as items.
    """

    def __init__(self, name: str, data: Dataset[Any], seed: int, *, views: int = 1, skip: bool = False) -> None:
        self.name, self.views, self.skip = name, views, skip
        self._data, self._seed = data, seed
        self.items = len(data) if hasattr(data, "__len__") else 0
        if self.items < 1:
            raise ValueError(f"{name}: the data set has no rows; expected at least one image")
        if views < 1:
            raise ValueError(f"{name}: {views} views; expected 1 or more")
        self._ids = _ids(data, self.items)
        self._labels = _labels(name, data, self.items)

    def __len__(self) -> int:
        return self.items * self.views

    def __getitem__(self, row: int) -> Any:
        seed = (self._seed * 0x9E3779B97F4A7C15 + row * 0xBF58476D1CE4E5B9) % 2**63
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 (a data set may draw from it)
        torch.default_generator.manual_seed(seed)
        try:
            return self._data[row % self.items]
        except Unreadable as error:
            return error  # not raised here: a loader whose worker has raised is slow to end

    def ids(self, rows: range) -> NDArray[np.bytes_]:
        """What some rows are called: by the data set, or their items' numbers."""
        parts = []
        row = rows.start
        while row < rows.stop:  # a run of rows may go on into the next view
            first = row % self.items
            last = min(self.items, first + rows.stop - row)
            parts.append(self._ids[first:last])
            row += last - first
        return np.concatenate(parts)

    @property
    def id_bytes(self) -> int:
        """Length of the longest id."""
        return self._ids.dtype.itemsize

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(N,) of the items, where the data set knows them without loading any."""
        return self._labels

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """K names, where the data set has them."""
        names = getattr(self._data, "class_names", None)
        return None if names is None else tuple(names)

    @property
    def augmentation(self) -> str | None:
        """What makes one view another than the next, in the words of the data set's transform; None for one view."""
        if self.views == 1:
            return None
        describe = getattr(getattr(self._data, "transform", None), "describe", None)
        return str(describe()) if callable(describe) else "of the data set"

    def digest(self) -> str:
        """SHA-256 over what the data set says of its items; where it knows no labels, over some items as they load.

        The latter tells most other data apart, and not a change in a single item; it begins with SAMPLED, for another
        release of an image library may load an item with other last bits.
        """
        if self._labels is not None:
            return data_digest(self._every_id(), self._labels)
        with own_randomness():
            some = [self[int(row)] for row in np.unique(np.linspace(0, self.items - 1, FEW).astype(int))]
        values = [_bits(part) for item in some if not isinstance(item, Unreadable) for part in item]
        return SAMPLED + data_digest(self._every_id(), np.zeros(0, np.int64), values)

    def _every_id(self) -> Iterator[NDArray[np.bytes_]]:
        return (self._ids[low : low + MANY] for low in range(0, self.items, MANY))

    def collate(self, items: list[Any]) -> Batch:
        """One batch of items. For a DataLoader."""
        return collated(items, getattr(self._data, "collate", None) or default_collate)

    def check(self, batch: Batch) -> Batch:
        """The batch; Unreadable where a row of it cannot be read and that is not to be passed over."""
        if batch.reasons and not self.skip:
            raise Unreadable(batch.reasons[0])
        return batch


def collated(items: list[Any], collate: Callable[[list[Any]], Any]) -> Batch:
    """One batch: what could not be read has a readable item's input in its place, so that all shapes stay.

    items: (input, label) pairs, and an Unreadable for each that could not be read. collate: of the data set.
    """
    unreadable = np.array([isinstance(item, Unreadable) for item in items])
    reasons = tuple(str(item) for item in items if isinstance(item, Unreadable))
    if unreadable.all():
        return Batch(None, torch.full((len(items),), -1), unreadable, reasons)
    stand_in = items[int(np.flatnonzero(~unreadable)[0])]
    inputs, labels = collate([stand_in if bad else item for item, bad in zip(items, unreadable, strict=True)])
    known = torch.as_tensor(labels)
    if unreadable.any():
        known = torch.where(torch.from_numpy(unreadable), -1, known)
    return Batch(inputs, known, unreadable, reasons)


@contextmanager
def own_randomness() -> Iterator[None]:
    """The caller's generators are as they were when the block ends."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def _ids(data: Dataset[Any], items: int) -> IdColumn:
    names = getattr(data, "sample_ids", None)
    ids: IdColumn = NumberedIds(items) if names is None else encode_ids(names)
    if len(ids) != items:
        raise ValueError(f"the data set has {items} rows and {len(ids)} sample_ids; expected one a row")
    return ids


def _labels(name: str, data: Dataset[Any], items: int) -> NDArray[np.int64] | None:
    given = getattr(data, "labels", None)
    labels = None if given is None else check_labels(np.asarray(given))
    if labels is not None and len(labels) != items:
        raise ValueError(f"{name}: the data set has {items} rows and {len(labels)} labels; expected one a row")
    return labels


def _bits(value: Any) -> NDArray[Any]:
    """What an item's part holds, as an array; what cannot be one counts as nothing."""
    try:
        array = as_array(value)
    except (TypeError, ValueError, RuntimeError):
        return np.zeros(0)
    return array if array.dtype.kind in "biuf" else np.zeros(0)
