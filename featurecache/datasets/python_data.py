"""Data of the user's own: `file:path.py:function`, which returns any torch data set."""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, IterableDataset

from featurecache.datasets.classes import columns
from featurecache.datasets.images import ImageFiles, Transform
from featurecache.python_function import failure, function_of
from featurecache.quoting import shown
from featurecache.unreadable import Unreadable


def is_file(source: str) -> bool:
    """Whether the source is file:…."""
    return source.startswith("file:")


class OwnData(Dataset[tuple[Any, int]]):
    """Item i is (input, label) of a data set of the user's; the input may be anything that the model takes.

    name: what messages call the data.
    data: it has a length and items (input, label); sample_ids, labels, class_names and collate where it has them.
    class_names: the K names to map its own onto; None, or where it has none: its labels are columns.
    Raises ValueError when what it has is not as OwnData has it.
    """

    notes: tuple[str, ...] = ()
    uses_transform = False  # whether its function was given the model's
    sample_ids: list[str] | None  # N different texts
    labels: npt.NDArray[np.int64] | None  # (N,) columns of class_names, or -1
    class_names: tuple[str, ...] | None
    collate: Callable[[list[Any]], Any] | None  # items -> a batch

    def __init__(self, name: str, data: Any, class_names: Sequence[str] | None) -> None:
        self.name, self.data = name, data
        self._rows = np.arange(len(data))
        own = _texts(name, data, "class_names")
        known = own if class_names is None else tuple(class_names)
        self._onto = None if own is None or own == known else columns(own, class_names, source=f"data {shown(name)}")
        self._classes = None if own is None and known is None else len(own or known or ())
        self.class_names = known
        self.sample_ids = None
        if (sample_ids := _texts(name, data, "sample_ids")) is not None:
            self.sample_ids = list(sample_ids)
            if len(sample_ids) != len(data):
                raise ValueError(f"data {shown(name)} has {len(data)} rows and {len(sample_ids)} sample_ids")
        self.labels = None
        if (labels := getattr(data, "labels", None)) is not None:
            if np.shape(labels) != (len(data),):
                raise ValueError(f"data {shown(name)} has {len(data)} rows and labels of shape {np.shape(labels)}")
            self.labels = np.array([self._column(label, row) for row, label in enumerate(labels)], dtype=np.int64)
        self.collate = getattr(data, "collate", None)
        if not (self.collate is None or callable(self.collate)):
            raise ValueError(f"data {shown(name)}: collate is {type(self.collate).__name__}, expected a function")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        row = int(self._rows[index])
        try:
            item = self.data[row]
        except (Unreadable, MemoryError):
            raise
        except OSError as error:  # of a file, as PIL's for what is no image
            raise Unreadable(f"data {shown(self.name)}: row {row} cannot be read: {failure(error)}") from error
        except Exception as error:  # the user's own code
            raise ValueError(f"data {shown(self.name)}: row {row} fails: {failure(error)}") from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ValueError(
                f"data {shown(self.name)}: item {row} is {type(item).__name__}, expected (input, label), "
                "the label -1 where there is none"
            )
        return item[0], self._column(item[1], row)

    def subset(self, indices: Sequence[int] | npt.NDArray[np.int64], name: str | None = None) -> OwnData:
        """Some of the rows, in the order asked for, with all class names.

        indices: rows of this data set.
        name: what messages call the part (None: as the whole).
        """
        rows = np.asarray(indices, dtype=np.int64)
        other = copy.copy(self)
        other.name = self.name if name is None else name
        other._rows = self._rows[rows]
        other.sample_ids = None if self.sample_ids is None else [self.sample_ids[i] for i in rows]
        other.labels = None if self.labels is None else self.labels[rows]
        return other

    def _column(self, label: Any, row: int) -> int:
        try:
            number = operator.index(label.item() if hasattr(label, "item") else label)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"data {shown(self.name)}: the label of row {row} is no integer: {shown(label)}") from None
        if number < -1 or (self._classes is not None and number >= self._classes):
            end = "" if self._classes is None else f" to {self._classes - 1}"
            raise ValueError(
                f"data {shown(self.name)}: the label of row {row} is {number}, expected 0{end}, or -1 for none"
            )
        return number if self._onto is None or number < 0 else self._onto[number]


def open_file(
    source: str,
    *,
    transform: Transform | None,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFiles | OwnData:
    """What a function in a Python file returns.

    The data set has a length and gives (input, label) items. Its attributes sample_ids (N names), labels (N,),
    class_names (K) and collate are used where it has them: class_names are mapped by name onto those asked for. Without
    them labels are columns. ImageFiles stay what they are.

    source: file:path.py:function; the function takes nothing, or transform.
    transform: PIL image -> float32 (C, H, W), or None; handed to a function that takes it.
    root: not used; the function knows where its data are.
    class_names: the K names of the columns; None: the data set's own.
    Raises ValueError when the file, the function or what it returns is not as above.
    """
    name = source.removeprefix("file:")
    build = function_of(name, "data")
    try:
        given = "transform" in inspect.signature(build).parameters
        made = build(transform=transform) if given else build()
    except Exception as error:  # the user's own code
        raise ValueError(f"data {shown(source)} failed: {failure(error)}") from error
    if isinstance(made, ImageFiles):
        mapped = _mapped(made, class_names)
        return mapped if transform is None or mapped.transform is not None else mapped.with_transform(transform)
    if isinstance(made, IterableDataset) or not (hasattr(made, "__len__") and hasattr(made, "__getitem__")):
        raise ValueError(
            f"data {shown(source)} returned {type(made).__name__}, expected a data set with a length, whose items are "
            "asked for by number: rows are resumed and shared by their place"
        )
    data = OwnData(source, made, class_names)
    data.uses_transform = given
    return data


def _mapped(images: ImageFiles, class_names: Sequence[str] | None) -> ImageFiles:
    if class_names is None or images.class_names == tuple(class_names):
        return images
    onto = np.array([*columns(images.class_names, class_names, source=f"data {shown(images.name)}"), -1])
    other = copy.copy(images)
    other.labels, other.class_names = onto[images.labels], tuple(class_names)  # -1 is the last of onto
    return other


def _texts(name: str, data: Any, attribute: str) -> tuple[str, ...] | None:
    """Different texts that the data set has, or None."""
    found = getattr(data, attribute, None)
    if found is None:
        return None
    texts = tuple(found) if isinstance(found, list | tuple | np.ndarray) else ()
    if not texts or not all(isinstance(text, str) for text in texts) or len(set(texts)) < len(texts):
        raise ValueError(f"data {shown(name)}: its {attribute} are not a list of different texts; leave them out")
    return tuple(str(text) for text in texts)
