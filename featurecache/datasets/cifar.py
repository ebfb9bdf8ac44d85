"""CIFAR-10 and CIFAR-100 as their authors pack them for Python: pickles, read without running anything.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from featurecache.convert.pickles.machine import unpickled
from featurecache.datasets.classes import columns
from featurecache.datasets.images import ImageFiles, Transform
from featurecache.datasets.tables import Asked, check_folder, table_images
from featurecache.disk import open_regular
from featurecache.quoting import shown

MAX_BYTES = 1 << 28  # the largest file has 155 MB
SHAPE = (3, 32, 32)  # of an image, as a row of its file has it


@dataclass(frozen=True)
class Kind:
    """How one of the two lies on the disk.

    folder: inside DIR, unless DIR is it. parts: the files of train and test.
    names_file: the one with the class names.
    labels: -> the key of the labels and that of their names; "" without the option coarse.
    """

    folder: str
    parts: Mapping[str, Sequence[str]]
    names_file: str
    labels: Mapping[str, tuple[str, str]]


CIFAR = {
    "cifar10": Kind(
        "cifar-10-batches-py",
        {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
        "batches.meta",
        {"": ("labels", "label_names")},
    ),
    "cifar100": Kind(
        "cifar-100-python",
        {"train": ["train"], "test": ["test"]},
        "meta",
        {"": ("fine_labels", "fine_label_names"), "coarse": ("coarse_labels", "coarse_label_names")},
    ),
}


def is_cifar10(source: str) -> bool:
    """Whether the source is cifar10:…."""
    return source.startswith("cifar10:")


def is_cifar100(source: str) -> bool:
    """Whether the source is cifar100:…."""
    return source.startswith("cifar100:")


def open_cifar(
    source: str,
    *,
    transform: Transform | None,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFiles:
    """The 32 x 32 colour images of the train or the test part, in the order of its files.

    source: cifar10:DIR or cifar100:DIR, with :train or :test where DIR has both; :coarse for the 20 superclasses of
        CIFAR-100; :lt=RATIO[,seed=S] for a long-tailed part of train (see LongTail).
    transform: PIL image -> float32 (C, H, W).
    root: not used; the images are in the files.
    class_names: the K names to map the names of the meta file onto; None: those, in their order.
    Raises ValueError when a file is missing or holds anything but what it should, or a name is not in class_names.
    """
    kind = CIFAR[source.partition(":")[0]]
    asked = Asked.parse(source, [word for word in kind.labels if word])
    folder = _folder(kind, asked)
    there = [part for part, files in kind.parts.items() if any((folder / file).exists() for file in files)]
    part = asked.chosen(there)
    label_key, name_key = kind.labels["coarse" if "coarse" in asked.options else ""]
    names = _names(folder / kind.names_file, name_key)
    onto = columns(names, class_names, source=f"data {shown(source)}")
    read = [_rows(folder / file, label_key, len(names)) for file in kind.parts[part]]
    return table_images(
        asked,
        part,
        np.concatenate([pixels for pixels, _ in read]),
        np.concatenate([labels for _, labels in read]),
        onto,
        names if class_names is None else class_names,
        transform,
    )


def _folder(kind: Kind, asked: Asked) -> Path:
    """The folder with the files: DIR or the one in it that the archive makes."""
    expected = f"{kind.folder}/ or the files in it"
    check_folder(asked.folder, asked.source, expected)
    for folder in (asked.folder, asked.folder / kind.folder):
        if (folder / kind.names_file).exists():
            return folder
    packed = next(asked.folder.glob("cifar*.tar.gz"), None)
    hint = f"; unpack {shown(packed.name)}" if packed else ""
    raise ValueError(
        f"data {shown(asked.source)}: no {kind.names_file} in {shown(asked.folder)}; expected {expected}{hint}"
    )


def _rows(path: Path, key: str, classes: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """uint8 (N, 32, 32, 3) and int64 (N,) of one file."""
    content = _read(path)
    pixels, labels = content.get("data"), content.get(key)
    width = int(np.prod(SHAPE))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (width,):
        raise ValueError(f"{shown(path)}: its data are not bytes of shape (N, {width}); fetch it again")
    if not (isinstance(labels, list) and all(type(label) is int and 0 <= label < classes for label in labels)):
        raise ValueError(f"{shown(path)}: its {key} are not a list of numbers from 0 to {classes - 1}; fetch it again")
    if not len(pixels) == len(labels) > 0:
        raise ValueError(f"{shown(path)}: {len(pixels)} images and {len(labels)} {key}; fetch it again")
    return pixels.reshape(-1, *SHAPE).transpose(0, 2, 3, 1), np.asarray(labels, dtype=np.int64)


def _names(path: Path, key: str) -> list[str]:
    found = _read(path).get(key)
    texts = [_text(name) for name in found] if isinstance(found, list) else []
    if not texts or "" in texts or len(set(texts)) < len(texts):
        raise ValueError(f"{shown(path)}: its {key} are not a list of different names; fetch it again")
    return texts


def _text(name: object) -> str:
    if isinstance(name, bytes):  # the text of Python 2
        return name.decode("latin-1")
    return name if isinstance(name, str) else ""


def _read(path: Path) -> dict[Any, Any]:
    """The dictionary in one file."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            if not 0 < size <= MAX_BYTES:
                raise ValueError(f"has {size} bytes, expected 1 to {MAX_BYTES}")
            content = unpickled(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except FileNotFoundError:
        raise ValueError(f"{shown(path)} does not exist, but files beside it do; fetch it again") from None
    except ValueError as error:
        raise ValueError(f"{shown(path)}: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{shown(path)}: holds {type(content).__name__}, expected a dictionary of data and labels")
    return content
