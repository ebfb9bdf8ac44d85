"""CIFAR as its authors pack it, with pickles of Python 2."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache.datasets.cifar import is_cifar10, is_cifar100, open_cifar
from featurecache.datasets.images import ImageFiles

N = 20  # of a file


def packed(value: Any) -> bytes:
    """A pickle of protocol 2 as Python 2 writes it: text and bytes are one kind, arrays come from NumPy 1."""

    def put(value: Any) -> bytes:
        match value:
            case None | bool():
                return pickle.dumps(value, 2)[2:-1]
            case int():
                return b"J" + struct.pack("<i", value)
            case str():
                return put(value.encode("latin-1"))
            case bytes():
                return b"T" + struct.pack("<I", len(value)) + value
            case list():
                return b"](" + b"".join(map(put, value)) + b"e"
            case dict():
                return b"}(" + b"".join(put(key) + put(item) for key, item in value.items()) + b"u"
        size = b"J\xff\xff\xff\xff"
        kind = b"cnumpy\ndtype\n" + put(value.dtype.str[1:]) + b"K\x00K\x01\x87R(K\x03U\x01|NNN" + size + size
        shape = b"(" + b"".join(map(put, value.shape)) + b"t"
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        return made + b"(K\x01" + shape + kind + b"K\x00tb\x89" + put(value.tobytes()) + b"tb"

    return b"\x80\x02" + put(value) + b"."


def rows(seed: int, labels: dict[str, Any], **more: Any) -> dict[str, Any]:
    data = np.random.default_rng(seed).integers(0, 256, (N, 3072), dtype=np.uint8)
    return {"filenames": [f"é_{i}.png" for i in range(N)], **labels, "data": data, "batch_label": "one", **more}


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = {"label_names": list("abcdefghij"), "num_vis": 3072, "num_cases_per_batch": N}
    (folder / "batches.meta").write_bytes(packed(names))
    for seed, name in enumerate(["test_batch", *(f"data_batch_{i}" for i in range(1, 6))]):
        (folder / name).write_bytes(packed(rows(seed, {"labels": [(i + seed) % 10 for i in range(N)]})))
    return tmp_path


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    names = {"fine_label_names": ["x", "y", "z", "w"], "coarse_label_names": ["beast", "plant"]}
    (tmp_path / "meta").write_bytes(packed(names))
    for seed, part in enumerate(("train", "test")):
        fine = [(i + seed) % 4 for i in range(N)]
        labels = {"fine_labels": fine, "coarse_labels": [k // 2 for k in fine]}
        (tmp_path / part).write_bytes(packed(rows(seed, labels)))
    return tmp_path


def opened(source: str, **options: Any) -> ImageFiles:
    return open_cifar(source, transform=None, **options)


def test_cifar10_is_five_files_and_one(ten: Path) -> None:
    train, test = opened(f"cifar10:{ten}:train"), opened(f"cifar10:{ten}/cifar-10-batches-py:test")
    assert (len(train), len(test)) == (5 * N, N)
    assert train.class_names == test.class_names == tuple("abcdefghij")
    assert train.labels.tolist() == [(i + seed) % 10 for seed in range(1, 6) for i in range(N)]
    assert not set(train.sample_ids) & set(test.sample_ids)
    # A row is 1024 reds, 1024 greens and 1024 blues, each row by row.
    row = rows(2, {})["data"][3].reshape(3, 32, 32)
    image = train.read(train.sample_ids[N + 3])
    assert (image.mode, image.size) == ("RGB", (32, 32))
    assert image.getpixel((5, 7)) == tuple(row[:, 7, 5])


def test_cifar100_has_fine_and_coarse_classes(hundred: Path) -> None:
    assert opened(f"cifar100:{hundred}:train").class_names == ("x", "y", "z", "w")
    coarse = opened(f"cifar100:{hundred}:test:coarse")
    assert coarse.class_names == ("beast", "plant")
    assert coarse.labels.tolist() == [(i + 1) % 4 // 2 for i in range(N)]


def test_pickles_of_python_3_are_read_too(hundred: Path) -> None:
    before = opened(f"cifar100:{hundred}:train")
    value = pickle.loads((hundred / "train").read_bytes(), encoding="latin-1")
    (hundred / "train").write_bytes(pickle.dumps(value, 4))
    after = opened(f"cifar100:{hundred}:train")
    assert after.labels.tolist() == before.labels.tolist()
    assert np.array_equal(np.asarray(after.read("train/07")), np.asarray(before.read("train/07")))


def test_known_classes_keep_their_columns(hundred: Path, refused: Any) -> None:
    images = opened(f"cifar100:{hundred}:test", class_names=["w", "new", "z", "y", "x"])
    assert [images.class_names[k] for k in images.labels[:4]] == ["y", "z", "w", "x"]
    with refused("class 'w' is not one of the 3 known classes"):
        opened(f"cifar100:{hundred}:test", class_names=["x", "y", "z"])


def test_a_long_tail_is_of_the_chosen_classes(ten: Path, hundred: Path) -> None:
    tail = opened(f"cifar10:{ten}:train:lt=10,seed=1")
    assert np.bincount(tail.labels).tolist() == [10, 7, 5, 4, 3, 2, 2, 1, 1, 1]
    assert len(opened(f"cifar100:{hundred}:train:coarse:lt=2")) == 15
    whole = opened(f"cifar10:{ten}:train")
    for sample_id, label in zip(tail.sample_ids, tail.labels, strict=True):
        assert label == whole.labels[whole.sample_ids.index(sample_id)]


def test_a_folder_with_one_part_needs_no_word(hundred: Path, refused: Any) -> None:
    with refused("holds a train and a test part; say which: expected cifar100:DIR:train|test"):
        opened(f"cifar100:{hundred}")
    (hundred / "train").unlink()
    assert opened(f"cifar100:{hundred}").sample_ids[0] == "test/00"
    with refused("has no part train"):
        opened(f"cifar100:{hundred}:train")


def test_sources_are_told_apart() -> None:
    texts = ["cifar10:x", "cifar100:x", "cifar10", "cifar100", "x/cifar10:y"]
    assert [text for text in texts if is_cifar10(text)] == ["cifar10:x"]
    assert [text for text in texts if is_cifar100(text)] == ["cifar100:x"]


def test_missing_files_are_named(ten: Path, tmp_path: Path, refused: Any) -> None:
    (ten / "cifar-10-batches-py" / "data_batch_4").unlink()
    with refused("data_batch_4' does not exist"):
        opened(f"cifar10:{ten}:train")
    (tmp_path / "empty").mkdir()
    with refused("no batches.meta in", "expected cifar-10-batches-py/ or the files in it"):
        opened(f"cifar10:{tmp_path}/empty:train")
    (tmp_path / "empty" / "cifar-10-python.tar.gz").touch()
    with refused("unpack 'cifar-10-python.tar.gz'"):
        opened(f"cifar10:{tmp_path}/empty:train")
    with refused("none", "is not a folder that is there"):
        opened(f"cifar10:{tmp_path}/none:train")


GOOD = {"fine_labels": [0] * N, "coarse_labels": [0] * N}


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ([1], ["holds list, expected a dictionary"]),
        (rows(0, {}), ["its fine_labels are not a list of numbers from 0 to 3"]),
        (rows(0, {"fine_labels": [4] * N}), ["from 0 to 3"]),
        (rows(0, {"fine_labels": [-1] * N}), ["from 0 to 3"]),
        (rows(0, {"fine_labels": ["a"] * N}), ["from 0 to 3"]),
        (rows(0, {"fine_labels": [True] * N}), ["from 0 to 3"]),
        (rows(0, {"fine_labels": [0] * (N - 1)}), [f"{N} images and {N - 1} fine_labels"]),
        (GOOD | {"data": np.zeros((N, 3071), np.uint8)}, ["its data are not bytes of shape (N, 3072)"]),
        (GOOD | {"data": np.zeros((N, 3072), np.int8)}, ["its data are not bytes"]),
        (GOOD | {"data": np.zeros((), np.uint8)}, ["its data are not bytes"]),
        (GOOD | {"data": b"x"}, ["its data are not bytes"]),
        (GOOD, ["its data are not bytes"]),
        ({"fine_labels": [], "data": np.zeros((0, 3072), np.uint8)}, ["its data"]),
    ],
)
def test_what_is_not_cifar_is_refused(hundred: Path, value: Any, parts: list[str], refused: Any) -> None:
    (hundred / "train").write_bytes(packed(value))
    with refused("train'", *parts):
        opened(f"cifar100:{hundred}:train")


class Payload:
    def __reduce__(self) -> Any:
        return os.mkdir, ("payload",)


def test_nothing_in_a_pickle_is_run(hundred: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.chdir(hundred)
    (hundred / "train").write_bytes(pickle.dumps(rows(0, GOOD, more=Payload()), 2))
    with refused("train'", "mkdir", "nothing was run"):
        opened("cifar100:.:train")
    assert not (hundred / "payload").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02", b"(dp1\nS'data'\n", b"\x1f\x8b gzip", packed(rows(0, GOOD))[:-9]]
)
def test_damaged_files_are_refused(hundred: Path, content: bytes, refused: Any) -> None:
    (hundred / "train").write_bytes(content)
    with refused("train'"):
        opened(f"cifar100:{hundred}:train")


@pytest.mark.parametrize("names", [None, [], ["x", "x", "y", "z"], ["x", 3], "xyzw"])
def test_names_that_are_none_are_refused(hundred: Path, names: Any, refused: Any) -> None:
    (hundred / "meta").write_bytes(packed({"fine_label_names": names}))
    with refused("meta'", "its fine_label_names are not a list of different names"):
        opened(f"cifar100:{hundred}:train")


def test_sizes_and_pipes_are_looked_at_first(hundred: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.setattr("featurecache.datasets.cifar.MAX_BYTES", 10_000)
    with refused("train'", "expected 1 to 10000"):
        opened(f"cifar100:{hundred}:train")
    (hundred / "train").unlink()
    os.mkfifo(hundred / "train")
    with refused("train'", "not a regular file"):
        opened(f"cifar100:{hundred}:train")
