"""Images that lie in one array: a part of a table, its long tail, and the data set of its rows."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from featurecache.datasets.images import ImageFiles, Transform
from featurecache.datasets.long_tail import LongTail
from featurecache.quoting import shown

PARTS = ("train", "test")


@dataclass(frozen=True)
class Asked:
    """What `KIND:DIR[:train|test][:OPTION][:lt=…]` asks for.

    source: the whole text.
    folder: DIR.
    part: train or test; None where the text does not say.
    options: other words of the kind that stand there.
    tail: the long-tailed part, of train only.
    """

    source: str
    folder: Path
    part: str | None
    options: frozenset[str]
    tail: LongTail | None

    @classmethod
    def parse(cls, source: str, options: Collection[str] = ()) -> Asked:
        """What the text asks for; ValueError when DIR is missing, a word comes twice or test is to have a tail.

        source: as above; DIR may hold colons.
        options: the other words that the kind knows.
        """
        kind, _, folder = source.partition(":")
        words: list[str] = []
        while True:
            rest, colon, word = folder.rpartition(":")
            if not colon or not (word in PARTS or word in options or word.startswith("lt=")):
                break
            folder = rest
            words.append(word)
        parts = [word for word in words if word in PARTS]
        tails = [word for word in words if word.startswith("lt=")]
        if not folder or len(set(words)) < len(words) or len(parts) > 1 or len(tails) > 1:
            raise ValueError(f"data {shown(source)}: expected {usage(kind, options)}")
        try:
            tail = LongTail.parse(tails[0]) if tails else None
        except ValueError as error:
            raise ValueError(f"data {shown(source)}: {error}") from None
        if tail is not None and parts != ["train"]:
            raise ValueError(f"data {shown(source)}: only :train has a long tail; write {kind}:DIR:train:{tails[0]}")
        return cls(source, Path(folder), parts[0] if parts else None, frozenset(words) & frozenset(options), tail)

    def chosen(self, there: Collection[str]) -> str:
        """The part that is meant: as the text says, else the only one that is there.

        there: the parts of PARTS that the folder has.
        Raises ValueError when the text does not say which of both, or what it says is not there.
        """
        if self.part is not None and self.part in there:
            return self.part
        if self.part is None and len(there) == 1:
            return next(iter(there))
        missing = f"has no part {self.part}" if self.part else "holds a train and a test part; say which"
        kind = self.source.partition(":")[0]
        raise ValueError(
            f"data {shown(self.source)}: the folder {missing}: expected {kind}:DIR:{'|'.join(there or PARTS)}"
        )


def usage(kind: str, options: Collection[str] = ()) -> str:
    """How users write a source of the kind."""
    return f"{kind}:DIR[:train|test]{''.join(f'[:{option}]' for option in options)}[:lt=RATIO[,seed=S]]"


@dataclass(frozen=True)
class TableRows:
    """Called with a sample id, which ends in the number of a row: that row as an image.

    pixels: uint8 (N, H, W), grey, or (N, H, W, 3).
    """

    pixels: npt.NDArray[np.uint8]

    def __call__(self, sample_id: str) -> Image.Image:
        return Image.fromarray(self.pixels[int(sample_id.rpartition("/")[2])])


def table_images(
    asked: Asked,
    part: str,
    pixels: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    onto: Sequence[int],
    class_names: Sequence[str],
    transform: Transform | None,
) -> ImageFiles:
    """The rows of one part, or its long tail; sample ids are `train/00042`, the row's place in the part's files.

    Rows stand in the order of the files; those of a long tail as LongTail.rows says.

    asked: what the source asks for. part: train or test.
    pixels: uint8 (N, H, W) or (N, H, W, 3).
    labels: int64 (N,), the source's own classes.
    onto: the column of each of them.
    class_names: K names of the columns.
    transform: PIL image -> float32 (C, H, W).
    """
    try:
        rows = np.arange(len(labels)) if asked.tail is None else asked.tail.rows(labels)
    except ValueError as error:
        raise ValueError(f"data {shown(asked.source)}: {error}") from None
    digits = len(str(len(labels) - 1))
    return ImageFiles(
        asked.source,
        [f"{part}/{row:0{digits}d}" for row in rows],
        np.asarray(onto, dtype=np.int64)[labels[rows]],
        class_names,
        transform=transform,
        read=TableRows(pixels),
    )


def check_folder(folder: Path, source: str, expected: str) -> None:
    """ValueError unless the folder is one; a packed one is to be unpacked first.

    source: what messages call the data. expected: what should be in the folder.
    """
    if not folder.is_dir():
        packed = os.path.isfile(folder)
        problem = "is a file; unpack it and pass the folder" if packed else "is not a folder that is there"
        raise ValueError(f"data {shown(source)}: {shown(folder)} {problem}; expected {expected}")
