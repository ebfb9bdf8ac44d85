"""ImageFiles in class folders: root/CLASS/…/image.jpg."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from featurecache.datasets.classes import columns
from featurecache.datasets.images import FilesUnder, ImageFiles, Transform
from featurecache.quoting import shown

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)
SPLITS = frozenset(("train", "val", "valid", "validation", "test"))


def is_folder(source: str) -> bool:
    """Whether the source is a folder."""
    return Path(source).is_dir()


def open_folders(
    source: str,
    *,
    transform: Transform | None,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageFiles:
    """The images of a folder of class folders, class after class, each in the order of its paths.

    Classes are the folder names, sorted. Files are found at any depth in a class folder; hidden ones and those whose
    suffix is no image's are passed over. A class folder may be a link; a deeper folder may not.

    source: the folder.
    transform: PIL image -> float32 (C, H, W).
    root: not used; sample ids are relative to the folder.
    class_names: the K names to map folder names onto; None: the folder names are the classes.
    Raises ValueError when there are no class folders, one has no images, or its name is not in class_names.
    """
    top = Path(source)
    names = sorted(entry.name for entry in os.scandir(top) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise ValueError(f"folder {shown(top)} has no class folders; expected {shown(top / 'CLASS' / 'image.jpg')}")
    if SPLITS.issuperset(names):
        first = "train" if "train" in names else names[0]
        raise ValueError(f"folder {shown(top)} holds splits, not classes; pass {shown(top / first)} instead")
    sample_ids: list[str] = []
    passed_over: list[str] = [entry.name for entry in os.scandir(top) if entry.is_file() and entry.name[0] != "."]
    labels: list[int] = []
    for name, label in zip(names, columns(names, class_names, source=f"folder {shown(top)}"), strict=True):
        found = sorted(_images(top, name, passed_over))
        if not found:
            raise ValueError(f"class folder {shown(top / name)} has no images; add some or remove it")
        sample_ids += found
        labels += [label] * len(found)
    return ImageFiles(
        source,
        sample_ids,
        labels,
        names if class_names is None else class_names,
        transform=transform,
        read=FilesUnder(top),
        notes=_notes(top, passed_over),
    )


def _notes(top: Path, passed_over: list[str]) -> list[str]:
    """That some files are no images by their names, or lie in no class folder."""
    if not passed_over:
        return []
    kinds = Counter(os.path.splitext(path)[1].lower() or "no suffix" for path in passed_over)
    said = ", ".join(f"{count} {shown(kind)}" for kind, count in kinds.most_common(5))
    which = f"{len(passed_over)} files passed over, no images by their names or in no class folder"
    return [f"{shown(top)}: {which}: {said} (such as {shown(min(passed_over))})"]


def _images(top: Path, folder: str, passed_over: list[str]) -> Iterator[str]:
    """Paths of the images below top / folder, relative to top; what is no image by its suffix is passed over."""
    with os.scandir(top / folder) as entries:
        for entry in entries:
            path = f"{folder}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if entry.is_symlink():
                    # Following it could walk in circles; passing it over would lose images without a word.
                    raise ValueError(f"{shown(top / path)} is a link to a folder; only class folders may be links")
                yield from _images(top, path, passed_over)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                yield _utf8(path)
            else:
                passed_over.append(path)


def _utf8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"image {shown(path)} has a name that is not UTF-8; rename it") from None
    return path
