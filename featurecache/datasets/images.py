"""Labelled images: a file opened safely, and the data set every source hands out."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from featurecache.disk import open_regular
from featurecache.quoting import shown

# Pillow tries every decoder it has, Ghostscript among them, unless told which formats to expect.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 64_000_000

Transform = Callable[[Image.Image], Tensor]


class BadImage(ValueError):
    """An image that cannot be read; the message is one line with its path and the reason."""

    def __init__(self, message: str) -> None:
        # A DataLoader rebuilds its worker's exception from the text of the traceback, which ends in our line.
        super().__init__(message.rstrip().rpartition("\nfeaturecache.datasets.images.BadImage: ")[2])


def open_image(path: Path | str) -> Image.Image:
    """The image upright, decoded and 8 bits deep: mode L where the file is grey, else RGB; on white if transparent.

    path: a regular file in one of FORMATS, at most MAX_PIXELS pixels.
    Raises BadImage when it is anything else, truncated or damaged.
    """
    try:
        file = open_regular(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadImage(f"image {shown(path)} cannot be opened: {reason}") from None
    with file:
        try:
            return _decode(file)
        except Exception as error:  # a damaged file makes Pillow raise nearly any type
            reason = _reason(error, file)
        raise BadImage(f"image {shown(path)} cannot be read: {reason}; replace it or take it out of the data")


def _decode(file: BinaryIO) -> Image.Image:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ValueError(f"it has {width} x {height} pixels; at most {MAX_PIXELS:,} are read")
            image.load()
            return _plain(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged note about the orientation does not make the pixels wrong
        return image


def _plain(image: Image.Image) -> Image.Image:
    """Mode L or RGB, as a person expects to see it. image: decoded, of any mode."""
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image)
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert(mode)
    return image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    full = 1 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= full):
        raise ValueError(f"its {image.mode} pixels are not all from 0 to {full}; save it with 8 or 16 bits")
    return Image.fromarray(np.rint(values * (255 / full)).astype(np.uint8))


def _reason(error: Exception, file: BinaryIO) -> str:
    file.seek(0)
    head = file.read(512).lstrip().lower()
    if not head:
        return "it is empty (0 bytes); fetch it again or take it out of the data"
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "it is HTML or XML text, perhaps the error page of a download"
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has too many pixels; at most {MAX_PIXELS:,} are read"
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__


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
    labels: int64 (N,), columns of class_names.
    class_names: K names; a class without images keeps its column.
    transform: PIL image -> float32 (C, H, W); None where only names and labels are wanted.
    read: sample id -> PIL image.
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
    ) -> None:
        self.name = name
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
        return self.transform(self.read(self.sample_ids[index])), int(self.labels[index])

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
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    return [int(k) for k in np.flatnonzero(counts == 0)]


def ids_digest(sample_ids: Iterable[str]) -> str:
    """SHA-256 of a set of samples, as hex: equal for equal ids in any order.

    sample_ids: texts without line breaks, as ImageFiles.sample_ids.
    """
    return hashlib.sha256("\n".join(sorted(sample_ids)).encode()).hexdigest()
