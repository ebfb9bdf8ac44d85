"""Images that lie in one array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache.datasets.long_tail import LongTail
from featurecache.datasets.tables import Asked, TableRows, check_folder, table_images, usage


def test_words_after_the_folder_in_any_order() -> None:
    for text in ("c:a/b:train:fine:lt=10", "c:a/b:lt=10:fine:train"):
        assert Asked.parse(text, ["fine"]) == Asked(text, Path("a/b"), "train", frozenset(["fine"]), LongTail(10))
    assert Asked.parse("c:a") == Asked("c:a", Path("a"), None, frozenset(), None)
    assert Asked.parse("c:/x:y/z:test") == Asked("c:/x:y/z:test", Path("/x:y/z"), "test", frozenset(), None)
    assert Asked.parse("c:a:fine").folder == Path("a:fine")  # a word of another kind is part of a name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("c:", ["expected c:DIR[:train|test][:lt=RATIO[,seed=S]]"]),
        ("c:a:train:test", ["expected c:DIR"]),
        ("c:a:train:train", ["expected c:DIR"]),
        ("c:a:train:lt=10:lt=20", ["expected c:DIR"]),
        ("c::train", ["expected c:DIR"]),
        ("c:a:test:lt=10", ["only :train has a long tail; write c:DIR:train:lt=10"]),
        ("c:a:lt=10", ["only :train"]),
        ("c:a:train:lt=x", ["'c:a:train:lt=x'", "'lt=x': expected lt=RATIO"]),
    ],
)
def test_texts_that_say_nothing_are_refused(text: str, parts: list[str], refused: Any) -> None:
    with refused(*parts):
        Asked.parse(text)


def test_the_part_is_said_or_the_only_one(refused: Any) -> None:
    assert Asked.parse("c:a:test").chosen(["train", "test"]) == "test"
    assert Asked.parse("c:a").chosen(["test"]) == "test"
    with refused("data 'c:a': the folder holds a train and a test part; say which: expected c:DIR:train|test"):
        Asked.parse("c:a").chosen(["train", "test"])
    with refused("has no part test: expected c:DIR:train"):
        Asked.parse("c:a:test").chosen(["train"])


def test_usage_names_the_options() -> None:
    assert usage("c", ["fine"]) == "c:DIR[:train|test][:fine][:lt=RATIO[,seed=S]]"


@pytest.mark.parametrize("shape", [(12, 4, 6), (12, 4, 6, 3)])
def test_rows_are_images_with_their_own_names(shape: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    labels = np.arange(12) % 2
    images = table_images(Asked.parse("c:a:train"), "train", pixels, labels, [3, 1], "abcd", None)
    assert images.sample_ids[0] == "train/00"
    assert images.labels.tolist() == [3, 1] * 6
    assert images.class_names == ("a", "b", "c", "d")
    assert np.array_equal(np.asarray(images.read("train/11")), pixels[11])
    assert images.read(images.sample_ids[0]).size == (6, 4)


def test_a_long_tail_keeps_the_names_of_its_rows(refused: Any) -> None:
    labels = np.arange(200) % 2
    asked = Asked.parse("c:a:train:lt=5")
    tail = table_images(asked, "train", np.zeros((200, 2, 2), np.uint8), labels, [1, 0], "ab", None)
    assert np.bincount(tail.labels).tolist() == [20, 100]  # the source's first class is column 1
    rows = [int(sample_id.removeprefix("train/")) for sample_id in tail.sample_ids]
    assert (np.array([1, 0])[labels[rows]] == tail.labels).all()
    with refused("data 'c:a:train:lt=5': lt=5 leaves the last class no row"):
        table_images(asked, "train", np.zeros((4, 2, 2), np.uint8), labels[:4], [0, 1], "ab", None)


def test_views_of_an_array_are_images() -> None:
    planes = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    image = TableRows(planes.transpose(0, 2, 3, 1))("1")
    assert (image.size, image.mode) == ((5, 4), "RGB")
    assert image.getpixel((2, 3)) == tuple(planes[1, :, 3, 2])


def test_a_packed_folder_is_to_be_unpacked(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "a.tar.gz").touch()
    with refused("data 'c:x'", "a.tar.gz' is a file; unpack it", "expected files"):
        check_folder(tmp_path / "a.tar.gz", "c:x", "files")
    with refused("none' is not a folder that is there"):
        check_folder(tmp_path / "none", "c:x", "files")
    check_folder(tmp_path, "c:x", "files")
