"""Class folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from featurecache.datasets.decoding import BadImage
from featurecache.datasets.folders import open_folders
from featurecache.datasets.images import ImageFiles


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, format="PNG")


def opened(folder: Path, **options: Any) -> ImageFiles:
    return open_folders(str(folder), transform=lambda image: image.size, **options)  # type: ignore[arg-type, return-value]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name in ("dog/2.png", "dog/1.JPG", "cat/deep/er/x.jpeg", "cat/a.png"):
        put(tmp_path / "pets" / name)
    return tmp_path / "pets"


def test_sorted_folders_are_the_classes(pets: Path) -> None:
    images = opened(pets)
    assert images.class_names == ("cat", "dog")
    assert images.sample_ids == ["cat/a.png", "cat/deep/er/x.jpeg", "dog/1.JPG", "dog/2.png"]
    assert images.labels.tolist() == [0, 0, 1, 1]
    assert images[3] == ((4, 4), 1)


def test_what_is_called_an_image_and_is_none_is_told_of_when_it_is_read(pets: Path, refused: Any) -> None:
    (pets / "cat" / "b.jpg").mkdir()
    (pets / "cat" / "c.jpg").symlink_to(pets / "nothing")
    (pets / "cat" / "d.jpg").write_text("words")
    os.mkfifo(pets / "cat" / "e.jpg")
    images = opened(pets)
    assert images.sample_ids[:5] == ["cat/a.png", "cat/c.jpg", "cat/d.jpg", "cat/deep/er/x.jpeg", "cat/e.jpg"]
    for row, reason in ((1, "No such file"), (2, "it is none of"), (4, "not a regular file")):
        with refused(images.sample_ids[row], reason, error=BadImage):
            images[row]


def test_hidden_files_and_other_files_are_passed_over(pets: Path) -> None:
    before = opened(pets).sample_ids
    for name in (".git/a.png", "dog/.thumb.png", "dog/.cache/b.png", "dog/notes.txt", "readme.md"):
        put(pets / name)
    assert opened(pets).sample_ids == before


def test_known_classes_keep_their_columns(pets: Path) -> None:
    images = opened(pets, class_names=["ant", "dog", "cat"])
    assert images.class_names == ("ant", "dog", "cat")
    assert images.labels.tolist() == [2, 2, 1, 1]


def test_an_unknown_class_is_refused(pets: Path, refused: Any) -> None:
    with refused("pets", "class 'cat' is not one of the 1 known classes"):
        opened(pets, class_names=["dog"])


def test_a_folder_without_class_folders_is_refused(tmp_path: Path, refused: Any) -> None:
    put(tmp_path / "a.png")
    with refused("has no class folders; expected"):
        opened(tmp_path)


def test_an_empty_class_folder_is_refused_by_name(pets: Path, refused: Any) -> None:
    (pets / "eel" / "deeper").mkdir(parents=True)
    with refused("class folder", "eel' has no images"):
        opened(pets)


def test_a_folder_of_splits_is_not_taken_for_classes(tmp_path: Path, refused: Any) -> None:
    for split in ("train", "val"):
        put(tmp_path / split / "cat" / "a.png")
    with refused("holds splits, not classes; pass", "train"):
        opened(tmp_path)


def test_a_class_folder_may_be_a_link_but_no_deeper_one(pets: Path, refused: Any) -> None:
    (pets / "fox").symlink_to(pets / "dog")
    assert opened(pets).class_names == ("cat", "dog", "fox")
    (pets / "cat" / "loop").symlink_to(pets)
    with refused("cat/loop' is a link to a folder"):
        opened(pets)


def test_a_name_that_is_not_utf8_is_refused(pets: Path, refused: Any) -> None:
    put(Path(os.fsdecode(os.fsencode(pets) + b"/dog/\xff.png")))
    with refused("not UTF-8; rename it"):
        opened(pets)


def test_files_that_are_passed_over_are_told(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / name)
    assert open_folders(str(tmp_path), transform=None).notes == ()
    for name in ("a/3.heic", "a/4", "b/5.HEIC", "loose.jpg", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    (note,) = open_folders(str(tmp_path), transform=None).notes
    assert "4 files passed over" in note
    assert "2 '.heic', 1 '.jpg', 1 'no suffix'" in note
    assert "'a/3.heic'" in note
