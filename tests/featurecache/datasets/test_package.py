"""One function opens every data source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featurecache.datasets import SOURCES, ImageTransform, missing_classes, open_images, write_list

PLAIN = ImageTransform(8)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for i, name in enumerate(("cat/a.png", "cat/b.png", "dog/c.png")):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (i, i, i)).save(tmp_path / "pets" / name)
    return tmp_path / "pets"


def test_folders_lists_and_csv_give_the_same_images(pets: Path) -> None:
    folders = open_images(str(pets), transform=PLAIN)
    write_list(pets.parent / "part.txt", folders.subset([2, 0]))
    (pets / "part.CSV").write_text("path,label\ndog/c.png,dog\ncat/a.png,cat\n")
    for part in (
        open_images(str(pets.parent / "part.txt"), transform=PLAIN, root=pets),
        open_images(str(pets / "part.CSV"), transform=PLAIN),
    ):
        assert part.sample_ids == ["dog/c.png", "cat/a.png"]
        assert part.class_names == folders.class_names
        assert part[0][1] == 1
        assert (part[0][0] == folders[2][0]).all()


def test_no_known_class_is_as_none_asked_for(pets: Path) -> None:
    assert open_images(str(pets), transform=None, class_names=()).class_names == ("cat", "dog")


def test_digits_need_no_file() -> None:
    assert len(open_images("digits:val", transform=None)) == 200


def idx(values: Any) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def test_every_source_keeps_the_column_of_a_class_it_lacks(pets: Path) -> None:
    known = ("yak", "dog", "1", "cat", "0")
    (pets / "a.csv").write_text("path,label\ncat/a.png,cat\n")
    (pets / "a.txt").write_text("# class 0 cat\ncat/a.png 0\n")
    (pets / "a.json").write_text(
        '{"images": [{"id": 1, "file_name": "cat/a.png"}], "annotations": [{"image_id": 1, "category_id": 7}],'
        '"categories": [{"id": 7, "name": "cat"}]}'
    )
    (pets / "a.py").write_text(
        "class Data(list):\n    class_names, labels = ['cat'], [0]\ndef make(): return Data([('x', 0)])"
    )
    (pets / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 3, 3), np.uint8)))
    (pets / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(2, dtype=np.uint8)))
    (pets / "dog" / "c.png").rename(pets / "c.png")
    (pets / "dog").rmdir()
    sources = [str(pets), *(str(pets / f"a.{kind}") for kind in ("csv", "txt", "json")), f"file:{pets}/a.py:make"]
    for source in sources:
        images = open_images(source, transform=None, class_names=known)
        assert images.class_names == known
        assert images.labels is not None
        assert set(images.labels.tolist()) == {3}
    images = open_images(f"idx:{pets}", transform=None, class_names=known)
    assert images.labels is not None
    assert images.labels.tolist() == [4, 2]
    assert missing_classes(images) == [0, 1, 3]


def test_what_is_no_source_is_refused_with_those_that_are(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "a.xls").touch()
    with refused("a.xls", "is none of the data sources", *(source.usage for source in SOURCES)):
        open_images(str(tmp_path / "a.xls"), transform=PLAIN)
    for name in ("nothing", "nothing.txt", "nothing.csv", "nothing.json"):
        with refused(name, "does not exist"):
            open_images(str(tmp_path / name), transform=PLAIN)
