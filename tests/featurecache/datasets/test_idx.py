"""IDX files: the MNIST family."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache.datasets.idx import is_idx, open_idx
from featurecache.datasets.images import ImageFiles

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 4, 6), dtype=np.uint8)
LABELS = np.arange(30, dtype=np.uint8) % 10


def packed(values: Any) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def put(folder: Path, part: str, labels: Any = LABELS, *, dash: str = "-", end: str = "") -> None:
    folder.mkdir(exist_ok=True)
    pack = gzip.compress if end else bytes
    (folder / f"{part}-images{dash}idx3-ubyte{end}").write_bytes(pack(packed(PIXELS)))
    (folder / f"{part}-labels{dash}idx1-ubyte{end}").write_bytes(pack(packed(labels)))


def opened(source: str, **options: Any) -> ImageFiles:
    return open_idx(source, transform=None, **options)


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("dash", ["-", "."])
def test_the_family_is_read(tmp_path: Path, dash: str, end: str) -> None:
    put(tmp_path, "train", dash=dash, end=end)
    put(tmp_path, "t10k", LABELS[::-1].copy(), dash=dash, end=end)
    train, test = opened(f"idx:{tmp_path}:train"), opened(f"idx:{tmp_path}:test")
    assert train.class_names == test.class_names == tuple("0123456789")
    assert train.labels.tolist() == LABELS.tolist()
    assert test.labels.tolist() == LABELS[::-1].tolist()
    assert not set(train.sample_ids) & set(test.sample_ids)
    image = train.read(train.sample_ids[17])
    assert (image.mode, image.size) == ("L", (6, 4))
    assert np.array_equal(np.asarray(image), PIXELS[17])


def test_the_content_says_whether_it_is_packed(tmp_path: Path) -> None:
    put(tmp_path, "train")
    for path in tmp_path.iterdir():
        path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))  # unpacked by name only
    assert len(opened(f"idx:{tmp_path}")) == 30


def test_one_of_several_data_sets_in_a_folder(tmp_path: Path, refused: Any) -> None:
    for name in ("emnist-balanced", "emnist-letters"):
        put(tmp_path, f"{name}-train", LABELS % 7 + (name == "emnist-letters"), end=".gz")
        put(tmp_path, f"{name}-test", end=".gz")
    assert opened(f"idx:{tmp_path}/emnist-balanced:train").class_names == tuple("0123456")
    letters = opened(f"idx:{tmp_path}/emnist-letters:train")
    assert letters.class_names == tuple("1234567")  # no image is called 0
    assert letters.labels.tolist() == (LABELS % 7).tolist()
    assert len(opened(f"idx:{tmp_path}/emnist-letters:test")) == 30
    with refused("no such IDX files", "'idx:DIR/emnist-balanced', 'idx:DIR/emnist-letters'"):
        opened(f"idx:{tmp_path}:train")
    with refused("no such IDX files", "after 'emnist-digits' and a dash"):
        opened(f"idx:{tmp_path}/emnist-digits:train")


def test_a_long_tail(tmp_path: Path) -> None:
    put(tmp_path, "train", np.repeat(np.arange(3, dtype=np.uint8), 10))
    tail = opened(f"idx:{tmp_path}:train:lt=5")
    assert np.bincount(tail.labels).tolist() == [10, 4, 2]
    assert len(opened(f"idx:{tmp_path}")) == 30


def test_known_classes_are_names_or_columns(tmp_path: Path, refused: Any) -> None:
    put(tmp_path, "train", LABELS % 3)
    put(tmp_path, "test", LABELS % 2)
    assert opened(f"idx:{tmp_path}:test", class_names=["2", "1", "0"]).labels[:2].tolist() == [2, 1]
    assert opened(f"idx:{tmp_path}:train", class_names=["cat", "dog", "owl"]).labels[:3].tolist() == [0, 1, 2]
    assert opened(f"idx:{tmp_path}:test", class_names=["0", "1", "2"]).class_names == ("0", "1", "2")
    with refused("label 2 is not one of the 2 known classes"):
        opened(f"idx:{tmp_path}:train", class_names=["cat", "dog"])


def test_numbered_from_1_they_are_columns_from_1(tmp_path: Path) -> None:
    put(tmp_path, "train", LABELS % 3 + 1)
    assert opened(f"idx:{tmp_path}", class_names=["x", "cat", "dog", "owl"]).labels[:3].tolist() == [1, 2, 3]
    assert opened(f"idx:{tmp_path}", class_names=["1", "2", "3"]).labels[:3].tolist() == [0, 1, 2]


HEAD = bytes([0, 0, 8, 3])


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "expected b'\\x00\\x00\\x08\\x03'"),
        (b"\x89PNG", "not such IDX"),
        (bytes([0, 0, 13, 3]) + packed(PIXELS)[4:], "not such IDX"),  # floats
        (packed(LABELS), "not such IDX"),
        (HEAD + bytes(11), "is cut short"),
        (packed(PIXELS)[:-1], "is cut short"),
        (packed(PIXELS) + b"\0", "is longer than its shape (30, 4, 6) says"),
        (HEAD + struct.pack(">3I", 2**32 - 1, 8000, 8000), "at most 8192 a side and"),
        (HEAD + struct.pack(">3I", 2**31, 1, 1), "is cut short"),
        (HEAD + struct.pack(">3I", 1, 1, 9000) + bytes(9000), "at most 8192 a side"),
        (HEAD + struct.pack(">3I", 30, 0, 6), "at most 8192 a side"),
        (packed(PIXELS[:29]), "has 29 images, 'train-labels-idx1-ubyte' 30 labels"),
        (packed(PIXELS[:0]), "has 0 images"),
        (gzip.compress(packed(PIXELS), mtime=0)[:-9], "is cut short"),
        (gzip.compress(packed(PIXELS), mtime=0)[:-8] + bytes(8), "is damaged"),
        (b"\x1f\x8b\x08\0" + b"\xff" * 60, "is damaged"),
        (gzip.compress(HEAD + struct.pack(">3I", 2000, 8000, 100), mtime=0), "is cut short"),
    ],
)
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"])
def test_bad_files_are_refused(tmp_path: Path, name: str, content: bytes, part: str, refused: Any) -> None:
    put(tmp_path, "train")
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / name).write_bytes(content)
    with refused(name, part):
        opened(f"idx:{tmp_path}")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    put(tmp_path, "train")
    bomb = gzip.compress(packed(PIXELS) + bytes(50_000_000))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(bomb)
    read: list[int] = []
    real = gzip.GzipFile.read

    def watched(self: Any, size: int = -1) -> bytes:
        content = real(self, size)
        read.append(len(content))
        return content

    monkeypatch.setattr(gzip.GzipFile, "read", watched)
    with refused("is longer than its shape"):
        opened(f"idx:{tmp_path}")
    assert sum(read) == len(packed(PIXELS)) + 1


def test_files_that_are_missing_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    with refused("no such IDX files; expected train-images-idx3-ubyte and train-labels-idx1-ubyte"):
        opened(f"idx:{tmp_path}")
    with refused("is not a folder that is there"):
        opened(f"idx:{tmp_path}/a/b")
    put(tmp_path, "train")
    with refused("has no part test: expected idx:DIR:train"):
        opened(f"idx:{tmp_path}:test")
    monkeypatch.setattr("featurecache.datasets.idx.MAX_VALUES", 100)
    with refused("100 bytes are read"):
        opened(f"idx:{tmp_path}")
    (tmp_path / "train-images-idx3-ubyte").unlink()
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    with refused("not a regular file"):
        opened(f"idx:{tmp_path}")


def test_sources_begin_with_the_word() -> None:
    assert [text for text in ("idx:x", "idx", "x/idx:y") if is_idx(text)] == ["idx:x"]
