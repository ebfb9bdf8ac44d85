"""Image files of each kind come out as a person expects them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featurecache.datasets.decoding import BadImage, open_image


def ramp(width: int = 6, height: int = 4) -> Image.Image:
    return Image.fromarray(np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3) * 3)


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


def test_damaged_exif_leaves_the_pixels(tmp_path: Path) -> None:
    ramp().save(tmp_path / "a.png", exif=b"Exif\0\0nonsense")
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.png")), np.asarray(ramp()))


def png(depth: int, kind: int, row: bytes, *chunks: tuple[bytes, bytes], width: int = 2) -> bytes:
    """A PNG of one row, packed as the format says."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = (b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0))
    parts = (size, *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(order: str, bits: list[int], photometric: int, data: bytes, *, width: int = 1, **tags: int) -> bytes:
    """An uncompressed TIFF of one row. tags: orientation, planes, sample_format."""
    planes = len(bits) if tags.get("planes") == 2 else 1
    numbers = {"orientation": 274, "planes": 284, "sample_format": 339}
    extra = struct.pack(f"{order}{len(bits)}H", *bits)
    count = 9 + len(tags)
    start = 8 + 2 + 12 * count + 4
    places = struct.pack(f"{order}{planes}I", *(start + 200 + i * len(data) // planes for i in range(planes)))
    sizes = struct.pack(f"{order}{planes}I", *[len(data) // planes] * planes)
    values: dict[int, tuple[int, bytes]] = {
        256: (4, struct.pack(order + "I", width)),
        257: (4, struct.pack(order + "I", 1)),
        258: (3, extra),
        259: (3, struct.pack(order + "H", 1)),
        262: (3, struct.pack(order + "H", photometric)),
        273: (4, places),
        277: (3, struct.pack(order + "H", len(bits))),
        278: (4, struct.pack(order + "I", 1)),
        279: (4, sizes),
        **{numbers[name]: (3, struct.pack(order + "H", value)) for name, value in tags.items()},
    }
    entries, tail = b"", b""
    for number, (kind, raw) in sorted(values.items()):
        entries += struct.pack(order + "HHI", number, kind, len(raw) // (2 if kind == 3 else 4))
        if len(raw) <= 4:
            entries += raw.ljust(4, b"\0")
        else:
            entries += struct.pack(order + "I", start + len(tail))
            tail += raw
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, count)
    return head + entries + bytes(4) + tail.ljust(200, b"\0") + data


GREY, TRUE = 0, 2  # kinds of PNG


@pytest.mark.parametrize(
    ("content", "pixels"),
    [
        # 16 bits a channel lose their lower 8.
        (png(16, TRUE, struct.pack(">6H", 65535, 0, 32768, 4660, 33023, 0)), [(255, 0, 128), (18, 128, 0)]),
        (png(16, 6, struct.pack(">8H", 65535, 0, 0, 65535, 9, 9, 9, 0)), [(255, 0, 0), (255, 255, 255)]),
        (png(16, 4, struct.pack(">4H", 65535, 65535, 0, 65535)), [(255, 255, 255), (0, 0, 0)]),
        # A grey or a colour that is called transparent.
        (png(8, GREY, bytes([7, 128]), (b"tRNS", b"\0\7")), [255, 128]),
        (png(16, GREY, struct.pack(">2H", 4660, 32768), (b"tRNS", b"\x12\x34")), [255, 128]),
        (png(8, TRUE, bytes([1, 2, 3, 4, 5, 6]), (b"tRNS", bytes([0, 1, 0, 2, 0, 3]))), [(255,) * 3, (4, 5, 6)]),
        (png(1, GREY, b"\x40", (b"tRNS", b"\0\0")), [255, 255]),
        (png(4, GREY, b"\x7f"), [119, 255]),
        (tiff("<", [16], 1, struct.pack("<2H", 2560, 65535), width=2), [10, 255]),
        (tiff(">", [16], 1, struct.pack(">2H", 2560, 65535), width=2), [10, 255]),
        (tiff("<", [12], 1, b"\xff\xf8\0", width=2), [255, 128]),
        # White is zero.
        (tiff("<", [8], 0, bytes([0, 10]), width=2), [255, 245]),
        (tiff("<", [16], 0, struct.pack("<2H", 0, 2570), width=2), [255, 245]),
        (tiff("<", [32], 0, struct.pack("<2f", 0, 1), width=2, sample_format=3), [255, 0]),
        (tiff("<", [16] * 3, 2, struct.pack("<3H", 65535, 0, 32768)), [(255, 0, 128)]),
        (tiff(">", [16] * 3, 2, struct.pack(">3H", 65535, 0, 32768)), [(255, 0, 128)]),
        (tiff("<", [8] * 3, 2, bytes([1, 2, 3]), planes=2), [(1, 2, 3)]),
        (tiff("<", [8] * 4, 5, bytes([0, 255, 255, 0])), [(255, 0, 0)]),
        (b"P5 2 1 1023\n" + struct.pack(">2H", 0, 1023), [0, 255]),
        (b"P1 2 1\n0 1\n", [255, 0]),
    ],
)
def test_files_of_any_depth_show_their_colours(tmp_path: Path, content: bytes, pixels: list[Any]) -> None:
    (tmp_path / "a.img").write_bytes(content)
    image = open_image(tmp_path / "a.img")
    assert [image.getpixel((x, 0)) for x in range(image.width)] == pixels
    assert image.mode == ("L" if isinstance(pixels[0], int) else "RGB")


def test_planes_that_pillow_reads_wrongly_are_refused(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "a.tif").write_bytes(tiff("<", [16] * 3, 2, struct.pack("<3H", 65535, 0, 32768), planes=2))
    with refused("a.tif", "separate planes", error=BadImage):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg", "tif"])
@pytest.mark.parametrize(
    ("orientation", "corners"),  # where the four corners of the stored picture, read row by row, are seen
    [(1, "abcd"), (2, "badc"), (3, "dcba"), (4, "cdab"), (5, "acbd"), (6, "cadb"), (7, "dbca"), (8, "bdac")],
)
def test_every_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int, corners: str) -> None:
    levels = dict(zip("abcd", (0, 80, 160, 240), strict=True))
    stored = np.repeat(np.repeat(np.array([[0, 80], [160, 240]], np.uint8), 16, 0), 24, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif, quality=95)
    image = open_image(tmp_path / f"a.{suffix}").convert("L")
    assert image.size == ((48, 32) if orientation < 5 else (32, 48))
    w, h = image.width - 1, image.height - 1
    seen = [image.getpixel(place) for place in ((0, 0), (w, 0), (0, h), (w, h))]
    assert np.abs(np.array(seen) - [levels[corner] for corner in corners]).max() <= 8  # JPEG and WebP are lossy


def test_inverted_inks_of_adobe_become_rgb(tmp_path: Path) -> None:
    # YCCK is CMYK whose three inks were turned into brightness and colour; only the marker tells the two apart.
    inks, black = (200, 40, 90), 30
    cyan, magenta, yellow = inks
    brightness = 0.299 * cyan + 0.587 * magenta + 0.114 * yellow
    turned = (brightness, 128 + (yellow - brightness) / 1.772, 128 + (cyan - brightness) / 1.402, 255 - black)
    # Pillow writes 255 minus each value, and reads it so.
    Image.new("CMYK", (16, 16), tuple(255 - round(value) for value in turned)).save(tmp_path / "a.jpg", quality=100)
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    content[content.index(b"Adobe") + 11] = 2
    (tmp_path / "a.jpg").write_bytes(content)
    expected = [(255 - ink) * (255 - black) / 255 for ink in inks]
    found = open_image(tmp_path / "a.jpg").getpixel((8, 8))
    assert np.abs(np.subtract(found, expected)).max() <= 4  # rounding to 8 bits twice


@pytest.mark.parametrize("name", ["a.mpo", "a.png", "a.webp", "a.tif"])
def test_the_first_of_several_pictures(tmp_path: Path, name: str) -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    first.save(tmp_path / name, save_all=True, append_images=[second])
    if name == "a.mpo":  # as phones write it
        (tmp_path / name).rename(tmp_path / "a.jpg")
        name = "a.jpg"
    assert np.abs(np.subtract(open_image(tmp_path / name).getpixel((8, 8)), (255, 0, 0))).max() <= 2


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "a.png", transparency=bytes([128, 255]))
    image = open_image(tmp_path / "a.png")
    assert [image.getpixel((x, 0)) for x in range(2)] == [(255, 127, 127), (0, 255, 0)]
    palette.save(tmp_path / "a.gif", transparency=0)
    image = open_image(tmp_path / "a.gif")
    assert [image.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (0, 255, 0)]
