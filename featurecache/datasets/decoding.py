"""An image file opened safely, and as a person expects to see it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from featurecache.disk import open_regular
from featurecache.quoting import shown
from featurecache.unreadable import Unreadable

# Pillow tries every decoder it has, Ghostscript among them, unless told which formats to expect. Photographs of phones
# in the format MPO are JPEG to it.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 64_000_000
MAX_BYTES = 1 << 30  # some decoders read the whole file first

BITS, PHOTOMETRIC, PLANES = 258, 262, 284  # tags of a TIFF
WHITE_IS_ZERO, SEPARATE = 0, 2


class BadImage(Unreadable):
    """An image that cannot be read; the message is one line with its path and the reason."""


def open_image(path: Path | str) -> Image.Image:
    """The image upright, decoded and 8 bits deep: mode L where the file is grey, else RGB; on white if transparent.

    Of several pages or frames the first comes back. Colour profiles are not applied.

    path: a regular file in one of FORMATS, whatever its name ends in, at most MAX_PIXELS pixels and MAX_BYTES bytes.
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
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        raise ValueError("it is larger than 1 GiB")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ValueError(f"it has {width} x {height} pixels; at most {MAX_PIXELS:,} are read")
            tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
            if tags.get(PLANES) == SEPARATE and max(tags.get(BITS, (1,))) > 8:
                # Pillow takes the low bytes of 16-bit planes for the colours.
                raise ValueError("it keeps 16-bit colours in separate planes; save it with 8 bits or as PNG")
            image.load()
            return _plain(_upright(image), tags)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged note about the orientation does not make the pixels wrong
        return image


def _plain(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Mode L or RGB, as a person expects to see it.

    image: decoded, of any mode. tags: what its file says if it is a TIFF.
    """
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image, tags)
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert(mode)
    return image.convert(mode)


def _eight_bits(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """A grey image of more than 8 bits scaled to 8, from floats of 0 to 1 or all the bits that its file has."""
    values = np.asarray(image).astype(np.float32)
    bits = tags.get(BITS, (16,))[0] if image.mode.startswith("I;16") else 16
    full = 1 if image.mode == "F" else 2**bits - 1
    if not (values.min() >= 0 and values.max() <= full):
        raise ValueError(f"its {image.mode} pixels are not all from 0 to {full}; save it with 8 or 16 bits")
    # Two things that Pillow does itself where grey has 8 bits.
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = full - values
    if isinstance(transparent := image.info.get("transparency"), int):
        values[values == transparent] = full
    return Image.fromarray(np.rint(values * (255 / full)).astype(np.uint8))


def _reason(error: Exception, file: BinaryIO) -> str:
    file.seek(0)
    head = file.read(512)
    if not head:
        return "it is empty (0 bytes)"
    head = head.lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "it is HTML or XML text, perhaps the error page of a download"
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has too many pixels; at most {MAX_PIXELS:,} are read"
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__
