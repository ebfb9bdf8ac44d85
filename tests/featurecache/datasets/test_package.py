"""One function opens every data source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from featurecache.datasets import SOURCES, ImageTransform, open_images, write_list

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


def test_digits_need_no_file() -> None:
    assert len(open_images("digits:val", transform=None)) == 200


def test_what_is_no_source_is_refused_with_those_that_are(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "a.xls").touch()
    with refused("a.xls", "is none of the data sources", *(source.usage for source in SOURCES)):
        open_images(str(tmp_path / "a.xls"), transform=PLAIN)
    for name in ("nothing", "nothing.txt", "nothing.csv"):
        with refused(name, "does not exist"):
            open_images(str(tmp_path / name), transform=PLAIN)
