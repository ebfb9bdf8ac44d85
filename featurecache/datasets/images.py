"""Labelled images: the data set that every source hands out."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from featurecache.datasets.decoding import open_image
from featurecache.quoting import shown

Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True)
class FilesUnder:
    """Called with a sample id: the image in that file.

    root: the folder that sample ids are relative to.
    """

    root: Path

    def __call__(self, sample_id: str) -> Image.Image:
        return open_image(self.root / sample_id)


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Item i is (transform(image), label).

    name: what messages call the data.
    sample_ids: N texts; for files the path relative to the root, with / between folders.
    labels: int64 (N,), columns of class_names; -1 where an image has no label.
    class_names: K names; a class without images keeps its column.
    transform: PIL image -> float32 (C, H, W); None where only names and labels are wanted.
    read: sample id -> PIL image.
    notes: what a person should know of them, one line each.
    """

    def __init__(
        self,
        name: str,
        sample_ids: Sequence[str],
        labels: Sequence[int] | npt.NDArray[np.int64],
        class_names: Sequence[str],
        *,
        transform: Transform | None,
        read: Callable[[str], Image.Image],
        notes: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.notes = tuple(notes)
        self.sample_ids = list(sample_ids)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.class_names = tuple(class_names)
        self.transform = transform
        self.read = read

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.transform is None:
            raise ValueError(f"data {shown(self.name)} was opened without a transform; set one with with_transform()")
        image, label = self.read(self.sample_ids[index]), int(self.labels[index])
        try:
            return self.transform(image), label
        except ValueError:
            raise
        except Exception as error:  # a transform of the user's own
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            name = shown(self.sample_ids[index])
            raise ValueError(f"image {name} ({image.mode} {image.size}): the transform fails: {reason}") from error

    def with_transform(self, transform: Transform) -> ImageFiles:
        """The same images through another transform."""
        other = copy.copy(self)
        other.transform = transform
        return other

    def subset(self, indices: Sequence[int] | npt.NDArray[np.int64], name: str | None = None) -> ImageFiles:
        """Some of the images, in the order asked for, with all class names.

        indices: rows of this data set.
        name: what messages call the part (None: as the whole).
        """
        rows = np.asarray(indices, dtype=np.int64)
        other = copy.copy(self)
        other.name = self.name if name is None else name
        other.sample_ids = [self.sample_ids[i] for i in rows]
        other.labels = self.labels[rows]
        return other


def missing_classes(images: ImageFiles) -> list[int]:
    """The classes without an image.

    images: usually the train split, where each class needs at least one.
    """
    known = images.labels[images.labels >= 0]
    counts = np.bincount(known, minlength=len(images.class_names))
    return [int(k) for k in np.flatnonzero(counts == 0)]


def ids_digest(sample_ids: Iterable[str]) -> str:
    """SHA-256 of a set of samples, as hex: equal for equal ids in any order.

    sample_ids: texts without line breaks, as ImageFiles.sample_ids.
    """
    return hashlib.sha256("\n".join(sorted(sample_ids)).encode()).hexdigest()
