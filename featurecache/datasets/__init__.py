"""Labelled images from anywhere: one file a source, one line a source in SOURCES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from featurecache.datasets import cifar, coco, digits, folders, idx, lists, python_data
from featurecache.datasets.decoding import BadImage, open_image
from featurecache.datasets.images import ImageFiles, Transform, ids_digest, missing_classes
from featurecache.datasets.lists import list_text, write_list
from featurecache.datasets.only import divided, only
from featurecache.datasets.python_data import OwnData
from featurecache.datasets.tables import usage
from featurecache.datasets.transforms import ImageTransform, TrainTransform
from featurecache.quoting import shown


class Opener(Protocol):
    """A source's own open_images."""

    def __call__(
        self, source: str, *, transform: Transform | None, root: Path | None, class_names: Sequence[str] | None
    ) -> ImageFiles | OwnData: ...


@dataclass(frozen=True)
class Source:
    """How users write a source, whether a text means it, and what opens it."""

    usage: str
    matches: Callable[[str], bool]
    open: Opener


SOURCES = (
    Source("digits[:train|val|test]", digits.is_digits, digits.open_digits),
    Source(usage("cifar10"), cifar.is_cifar10, cifar.open_cifar),
    Source(usage("cifar100", ["coarse"]), cifar.is_cifar100, cifar.open_cifar),
    Source(usage("idx"), idx.is_idx, idx.open_idx),
    Source("file:path.py:function", python_data.is_file, python_data.open_file),
    Source("a folder of class folders", folders.is_folder, folders.open_folders),
    Source("a .txt list of `path label` lines", lists.is_text_list, lists.open_text_list),
    Source("a .csv list with path,label", lists.is_csv_list, lists.open_csv_list),
    Source("an iNaturalist or COCO .json", coco.is_json, coco.open_json),
)


def open_images(
    source: str,
    *,
    transform: Transform | None,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFiles | OwnData:
    """The labelled images a source names; what a function in a Python file returns may be other things than images.

    source: as in SOURCES; a folder that is called digits is written ./digits. With `:only=LIST.txt` behind it, just
        the rows whose sample ids the list names.
    transform: PIL image -> float32 (C, H, W).
    root: the folder that a list's paths start from; None: the list's own folder.
    class_names: the K class names of a model or of the train split, so that every split has the same columns; None, or
        no name at all as unlabelled data have: the source's own.
    Raises ValueError when the source is none of SOURCES or its content is bad, OSError when it cannot be read.
    """
    whole, rows = divided(source)
    if rows is not None:
        return only(open_images(whole, transform=transform, root=root, class_names=class_names), rows, source)
    for kind in SOURCES:
        if kind.matches(source):
            try:
                return kind.open(source, transform=transform, root=root, class_names=class_names or None)
            except FileNotFoundError:
                break
    expected = ", ".join(kind.usage for kind in SOURCES)
    problem = "is none of the data sources" if Path(source).exists() else "does not exist"
    raise ValueError(f"data {shown(source)} {problem}; expected {expected}")


__all__ = [
    "SOURCES",
    "BadImage",
    "ImageFiles",
    "ImageTransform",
    "OwnData",
    "Source",
    "TrainTransform",
    "ids_digest",
    "list_text",
    "missing_classes",
    "open_image",
    "open_images",
    "write_list",
]
