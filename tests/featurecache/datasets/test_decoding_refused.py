"""Image files that are damaged, hostile or none: each is refused in a line."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featurecache.datasets.decoding import MAX_BYTES, BadImage, open_image
from featurecache.unreadable import Unreadable


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("values", [np.float32([[0, 300]]), np.float32([[0, np.nan]]), np.int32([[0, 70000]])])
def test_numbers_of_unknown_range_are_refused(tmp_path: Path, values: Any, refused: Any) -> None:
    Image.fromarray(values).save(tmp_path / "a.tiff")
    with refused("a.tiff", "pixels are not all from 0 to", error=BadImage):
        open_image(tmp_path / "a.tiff")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty (0 bytes)"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (b"  <svg xmlns='x'/>", "HTML or XML"),
        (b"plain words, no image at all", "none of BMP, GIF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "none of BMP, GIF"),
        (png_header(4, 4), "image file is truncated"),
        (png_header(9000, 9000), "it has 9000 x 9000 pixels"),  # between our limit and Pillow's warning
        (png_header(12_000, 12_000), "too many pixels"),  # Pillow would only warn
        (png_header(60_000, 60_000), "too many pixels"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "cannot be read"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, content: bytes, reason: str, refused: Any) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with refused("bad.jpg", reason, error=BadImage):
        open_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "webp"])
def test_every_truncation_is_refused(tmp_path: Path, suffix: str, refused: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for part in (0.02, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        with refused(path.name, error=BadImage):
            open_image(path)


def test_a_pipe_does_not_block(tmp_path: Path, refused: Any) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with refused("a.jpg", "it is not a regular file", error=BadImage):
        open_image(tmp_path / "a.jpg")


def test_a_folder_and_an_absent_file_are_refused(tmp_path: Path, refused: Any) -> None:
    with refused("Is a directory", error=BadImage):
        open_image(tmp_path)
    with refused("none.jpg", "No such file", error=BadImage):
        open_image(tmp_path / "none.jpg")
    with refused("cannot be opened", error=BadImage):
        open_image("a\0b")


def test_a_strange_name_stays_on_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.chdir(tmp_path)  # whose own name may be long, and a long one is shortened
    path = Path("\x1b[31mred\n" + "x" * 200)
    path.write_bytes(b"no image")
    with refused("\\x1b[31mred\\n", error=BadImage):
        open_image(path)


def test_an_endless_file_is_refused(tmp_path: Path, refused: Any) -> None:
    with (tmp_path / "a.webp").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with refused("a.webp", "larger than 1 GiB", error=BadImage):
        open_image(tmp_path / "a.webp")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path, refused: Any) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with refused("a.png", "Permission denied", error=BadImage):
        open_image(tmp_path / "a.png")


def test_a_bad_image_is_unreadable() -> None:
    text = "image 'x.jpg' cannot be read: it is empty (0 bytes)"
    assert str(BadImage(f"Caught\nTraceback\n{BadImage.__module__}.BadImage: {text}\n")) == text
    assert issubclass(BadImage, Unreadable)
