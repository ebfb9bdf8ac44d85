"""Image files: each kind as a person expects it, each damaged or hostile one refused in a line."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from featurecache.datasets.images import BadImage, FilesUnder, ImageFiles, ids_digest, missing_classes, open_image
from featurecache.datasets.transforms import ImageTransform


def ramp(width: int = 6, height: int = 4) -> Image.Image:
    return Image.fromarray(np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3) * 3)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tiff", "webp"])
def test_colours_come_back_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    ramp().save(tmp_path / f"a.{suffix}", **options)
    image = open_image(tmp_path / f"a.{suffix}")
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(ramp()))


def test_the_content_counts_not_the_name(tmp_path: Path) -> None:
    ramp().save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.jpg")), np.asarray(ramp()))


def test_grey_stays_grey(tmp_path: Path) -> None:
    ramp().convert("L").save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").mode == "L"


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png")
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), np.eye(8) * 255)


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = ramp().quantize(24)
    palette.save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.png")), np.asarray(palette.convert("RGB")))


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    red, blue = (Image.new("RGB", (4, 4), colour).quantize(4) for colour in ("red", "blue"))
    red.save(tmp_path / "a.gif", save_all=True, append_images=[blue])
    assert open_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_is_white(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (4, 4), 0)  # black and transparent
    image.putpixel((1, 1), (0, 0, 0, 255) if mode == "RGBA" else (0, 255))
    image.save(tmp_path / "a.png")
    grey = np.asarray(open_image(tmp_path / "a.png").convert("L"))
    assert grey[0, 0] == 255
    assert grey[1, 1] == 0


def test_a_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 1), 1)
    palette.save(tmp_path / "a.png", transparency=0)
    image = open_image(tmp_path / "a.png")
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((1, 1)) == (0, 255, 0)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    image = open_image(tmp_path / "a.jpg")
    assert image.mode == "RGB"
    red, green, blue = image.getpixel((4, 4))
    assert red > 250  # JPEG is lossy by a few levels
    assert max(green, blue) < 5


def test_16_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png")
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image).ravel(), np.arange(256))


def test_floats_from_0_to_1_are_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.float32([[0, 1], [0.2, 0.4]])).save(tmp_path / "a.tiff")
    assert np.asarray(open_image(tmp_path / "a.tiff")).tolist() == [[0, 255], [51, 102]]


@pytest.mark.parametrize("values", [np.float32([[0, 300]]), np.float32([[0, np.nan]]), np.int32([[0, 70000]])])
def test_numbers_of_unknown_range_are_refused(tmp_path: Path, values: Any, refused: Any) -> None:
    Image.fromarray(values).save(tmp_path / "a.tiff")
    with refused("a.tiff", "pixels are not all from 0 to", error=BadImage):
        open_image(tmp_path / "a.tiff")


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned: show it a quarter turn clockwise
    ramp().save(tmp_path / "a.png", exif=exif)
    image = open_image(tmp_path / "a.png")
    assert image.size == (4, 6)
    assert np.array_equal(np.asarray(image), np.rot90(np.asarray(ramp()), -1))


def test_damaged_exif_leaves_the_pixels(tmp_path: Path) -> None:
    ramp().save(tmp_path / "a.png", exif=b"Exif\0\0nonsense")
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.png")), np.asarray(ramp()))


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


def test_a_strange_name_stays_on_the_line(tmp_path: Path, refused: Any) -> None:
    path = tmp_path / ("\x1b[31mred\n" + "x" * 200)
    path.write_bytes(b"no image")
    with refused("\\x1b[31mred\\n", error=BadImage):
        open_image(path)


@pytest.fixture
def images(tmp_path: Path) -> ImageFiles:
    names = [f"{i}.png" for i in range(5)]
    for i, name in enumerate(names):
        Image.new("L", (8, 8), i * 10).save(tmp_path / name)
    return ImageFiles(
        "five",
        names,
        [0, 2, 2, 0, 2],
        ("a", "b", "c"),
        transform=ImageTransform(4, channels=1),
        read=FilesUnder(tmp_path),
    )


def test_items_are_tensor_and_label(images: ImageFiles) -> None:
    tensor, label = images[2]
    assert label == 2
    assert type(label) is int
    torch.testing.assert_close(tensor, torch.full((1, 4, 4), 20 / 255))
    assert len(images) == 5
    assert images.labels.dtype == np.int64


def test_a_subset_keeps_order_and_classes(images: ImageFiles) -> None:
    part = images.subset(np.array([4, 1]), "part")
    assert part.sample_ids == ["4.png", "1.png"]
    assert part.labels.tolist() == [2, 2]
    assert part.class_names == ("a", "b", "c")
    assert (part.name, images.name, images.subset([0]).name) == ("part", "five", "five")
    assert len(images) == 5


def test_another_transform_is_a_copy(images: ImageFiles, refused: Any) -> None:
    other = images.with_transform(ImageTransform(6, channels=1))
    assert other[0][0].shape == (1, 6, 6)
    assert images[0][0].shape == (1, 4, 4)
    images.transform = None
    with refused("'five' was opened without a transform"):
        images[0]


def test_missing_classes_are_columns_without_rows(images: ImageFiles) -> None:
    assert missing_classes(images) == [1]
    assert missing_classes(images.subset([0])) == [1, 2]


def test_the_digest_is_of_the_set(images: ImageFiles) -> None:
    assert ids_digest(["a", "b"]) == ids_digest(["b", "a"]) != ids_digest(["a", "c"])
    assert len(ids_digest([])) == 64


def test_worker_processes_tell_the_bad_image_in_one_line(images: ImageFiles, tmp_path: Path, refused: Any) -> None:
    (tmp_path / "3.png").write_bytes(b"<html>")
    loader = DataLoader(pickle.loads(pickle.dumps(images)), batch_size=5, num_workers=1)
    with refused("3.png", "HTML", error=BadImage):
        list(loader)
