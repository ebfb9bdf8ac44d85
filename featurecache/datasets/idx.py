"""IDX files, the format of MNIST, Fashion-MNIST, KMNIST and EMNIST, gzipped or not.

Source: Y. LeCun, C. Cortes and C. Burges, The MNIST Database: two zero bytes, the type of the values (8: bytes), the
number of dimensions, each size as a big-endian uint32, then the values. Images of EMNIST lie on their side in its
files, and come out as they lie.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from featurecache.datasets.classes import numbered
from featurecache.datasets.images import ImageFiles, Transform
from featurecache.datasets.tables import PARTS, Asked, check_folder, table_images
from featurecache.disk import open_regular
from featurecache.quoting import shown

MAX_VALUES = 1 << 31  # bytes of one array
MAX_SIDE = 8192
DEFLATE = 1032  # a byte of gzip becomes at most so many
BYTES = 8  # the type of the values
PIECE = 1 << 22
# What the two parts are called in file names.
WORDS = {"train": ("train",), "test": ("t10k", "test")}
EXPECTED = "train-images-idx3-ubyte and train-labels-idx1-ubyte, or t10k-… for test, .gz or not"


def is_idx(source: str) -> bool:
    """Whether the source is idx:…."""
    return source.startswith("idx:")


def open_idx(
    source: str,
    *,
    transform: Transform | None,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFiles:
    """The grey images of the train or the test part, in the order of its file.

    source: idx:DIR, with :train or :test where DIR has both; idx:DIR/emnist-letters where file names begin so;
        :lt=RATIO[,seed=S] for a long-tailed part of train (see LongTail).
    transform: PIL image -> float32 (C, H, W).
    root: not used; the images are in the files.
    class_names: the K names to map the numbers onto, which are columns where they are no names; None: the numbers up
        to the largest label, from 0 (from 1 where no image has the label 0, as the letters of EMNIST).
    Raises ValueError when a file is missing or holds anything but what it should, or a label is beyond class_names.
    """
    asked = Asked.parse(source)
    folder, prefix = _place(asked)
    there = {part: found for part in PARTS if (found := _pair(folder, prefix, part))}
    if not there:
        raise ValueError(
            f"data {shown(source)}: no such IDX files{_prefixes(folder)}; expected "
            f"{EXPECTED}{prefix and f', after {shown(prefix)} and a dash'}"
        )
    part = asked.chosen(there)
    images, labels = there[part]
    pixels = _array(images, 3)
    numbers = _array(labels, 1).astype(np.int64)
    if not len(pixels) == len(numbers) > 0:
        raise ValueError(f"{shown(images)} has {len(pixels)} images, {shown(labels.name)} {len(numbers)} labels")
    first = min(int(numbers.min()), 1)
    own = list(range(first, int(numbers.max()) + 1))
    names = [str(number) for number in own] if class_names is None else class_names
    onto = range(len(own)) if class_names is None else numbered(own, class_names, source=f"data {shown(source)}")
    return table_images(asked, part, pixels, numbers - first, onto, names, transform)


def _place(asked: Asked) -> tuple[Path, str]:
    """The folder, and what the names of its files begin with."""
    if not asked.folder.exists() and asked.folder.parent.is_dir():
        return asked.folder.parent, asked.folder.name
    check_folder(asked.folder, asked.source, EXPECTED)
    return asked.folder, ""


def _pair(folder: Path, prefix: str, part: str) -> tuple[Path, Path] | None:
    """The files of images and labels of one part."""
    for word in WORDS[part]:
        start = f"{prefix}-{word}" if prefix else word
        found = [
            next((path for path in _names(folder, start, what) if path.exists()), None)
            for what in ("images?idx3-ubyte", "labels?idx1-ubyte")
        ]
        if found[0] and found[1]:
            return found[0], found[1]
    return None


def _names(folder: Path, start: str, what: str) -> Iterator[Path]:
    for packed in ("", ".gz"):
        for dash in "-.":  # tools that unpack on Windows write a dot
            yield folder / f"{start}-{what.replace('?', dash)}{packed}"


def _prefixes(folder: Path) -> str:
    """A hint where files begin with the name of a data set."""
    names = sorted({name.partition("-train-images")[0] for name in os.listdir(folder) if "-train-images" in name})
    return f" by that name, though for {', '.join(shown(f'idx:DIR/{name}') for name in names[:3])}" if names else ""


def _array(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The bytes of one file; all of it is checked before room is made for it."""
    try:
        with _content(path) as (file, most):
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[3] != dimensions or head[2] != BYTES:
                raise ValueError(f"begins with {head!r}, expected {bytes([0, 0, BYTES, dimensions])!r}: not such IDX")
            sizes = file.read(4 * dimensions)
            if len(sizes) < 4 * dimensions:
                raise EOFError
            shape = struct.unpack(f">{dimensions}I", sizes)
            count = prod(shape)
            if count > MAX_VALUES or any(not 0 < side <= MAX_SIDE for side in shape[1:]):
                raise ValueError(
                    f"says it has the shape {shape}; at most {MAX_SIDE} a side and {MAX_VALUES} bytes are read"
                )
            if count > most:
                raise EOFError
            values = _bytes(file, count)
            if file.read(1):
                raise ValueError(f"is longer than its shape {shape} says")
            return values.reshape(shape)
    except EOFError:
        raise ValueError(f"{shown(path)} is cut short; fetch it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{shown(path)} is damaged ({str(error)[:80]}); fetch it again") from None
    except ValueError as error:
        raise ValueError(f"{shown(path)} {error}; fetch it again") from None


@contextmanager
def _content(path: Path) -> Iterator[tuple[BinaryIO | gzip.GzipFile, int]]:
    """The unpacked content, and how many bytes it can have at most."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        packed = file.read(2) == b"\x1f\x8b"  # the content counts, not the name
        file.seek(0)
        if not packed:
            yield file, size
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked, size * DEFLATE


def _bytes(file: BinaryIO | gzip.GzipFile, count: int) -> npt.NDArray[np.uint8]:
    """The next bytes; EOFError where there are fewer."""
    values = np.empty(count, np.uint8)
    done = 0
    while done < count:
        piece = np.frombuffer(file.read(min(count - done, PIECE)), np.uint8)
        if not len(piece):
            raise EOFError
        values[done : done + len(piece)] = piece
        done += len(piece)
    return values
