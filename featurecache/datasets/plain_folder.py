"""The images of a folder without class folders: nobody says what they show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from featurecache.datasets.folders import SUFFIXES
from featurecache.datasets.images import FilesUnder, ImageFiles, Transform
from featurecache.quoting import shown


def is_plain_folder(source: str) -> bool:
    """Whether the source is a folder in which no folder is, hidden ones aside."""
    if not Path(source).is_dir():
        return False
    with os.scandir(source) as entries:
        return not any(entry.is_dir() and not entry.name.startswith(".") for entry in entries)


def open_plain_folder(
    source: str, *, transform: Transform | None, class_names: Sequence[str] | None = None
) -> ImageFiles:
    """The images of a folder in the order of their names, all with the label -1.

    Files whose suffix is no image's are passed over, hidden ones too.

    source: the folder. transform: PIL image -> float32 (C, H, W). class_names: K names that go with them, or None.
    ValueError when no image is in it, or one has a name that is not UTF-8.
    """
    with os.scandir(source) as entries:
        files = sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
    images = [name for name in files if os.path.splitext(name)[1].lower() in SUFFIXES]
    if not images:
        raise ValueError(f"folder {shown(source)} has no images; expected some, or class folders with some")
    for name in images:
        if name != name.encode("utf-8", "replace").decode():
            raise ValueError(f"image {shown(name)} has a name that is not UTF-8; rename it")
    left = len(files) - len(images)
    return ImageFiles(
        source,
        images,
        np.full(len(images), -1),
        class_names or (),
        transform=transform,
        read=FilesUnder(Path(source)),
        notes=[f"{shown(source)}: {left} files passed over, no images by their names"] if left else [],
    )
