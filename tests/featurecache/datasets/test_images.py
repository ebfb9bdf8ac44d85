"""The data set of labelled images."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from featurecache.datasets.decoding import BadImage
from featurecache.datasets.images import FilesUnder, ImageFiles, ids_digest, missing_classes
from featurecache.datasets.transforms import ImageTransform


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


def test_images_without_labels_are_of_no_class(images: ImageFiles) -> None:
    images.labels[:] = [-1, 0, -1, 1, -1]
    assert missing_classes(images) == [2]
    assert images[0][1] == -1
    images.class_names = ()
    assert missing_classes(images.subset([0, 2])) == []


def test_the_digest_is_of_the_set(images: ImageFiles) -> None:
    assert ids_digest(["a", "b"]) == ids_digest(["b", "a"]) != ids_digest(["a", "c"])
    assert len(ids_digest([])) == 64


def test_worker_processes_tell_the_bad_image_in_one_line(images: ImageFiles, tmp_path: Path, refused: Any) -> None:
    (tmp_path / "3.png").write_bytes(b"<html>")
    batches = iter(DataLoader(pickle.loads(pickle.dumps(images)), batch_size=5, num_workers=1))
    with refused("3.png", "HTML", error=BadImage):
        next(batches)
    batches._shutdown_workers()  # type: ignore[attr-defined]  # the error holds it, and collected later it waits 5 s
