"""Some rows of any source, named by a list of their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featurecache.datasets import list_text, open_images, write_list
from featurecache.datasets.only import divided

OWN = """
import torch
class Data(torch.utils.data.Dataset):
    labels = [0, 1, 0, 1]
    def __len__(self):
        return 4
    def __getitem__(self, row):
        return torch.full((2,), float(row)), self.labels[row]
def data():
    return Data()
"""


@pytest.fixture(params=["digits", "folder", "own"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A table, files, and a data set without names."""
    if request.param == "digits":
        return "digits:train"
    if request.param == "own":
        (tmp_path / "own.py").write_text(OWN)
        return f"file:{tmp_path / 'own.py'}:data"
    for name in ("a/0.png", "a/1.png", "b c/0 1.png", "b c/2.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)
    return str(tmp_path / "photos")


def names(images: Any) -> list[str]:
    return [str(i) for i in range(len(images))] if images.sample_ids is None else images.sample_ids


def test_the_rows_of_a_list_in_its_order(source: str, tmp_path: Path) -> None:
    whole = open_images(source, transform=None)
    wanted = [3, 0, 2]
    path = tmp_path / "some.txt"
    path.write_text("# class 0 x\n" + "".join(f"{names(whole)[row]} 0\n" for row in wanted))
    some = open_images(f"{source}:only={path}", transform=None)
    assert len(some) == 3
    assert whole.labels is not None
    assert some.labels is not None
    assert some.labels.tolist() == whole.labels[wanted].tolist()
    assert some.class_names == whole.class_names
    if whole.sample_ids is not None:
        assert some.sample_ids == [whole.sample_ids[row] for row in wanted]


def test_what_is_written_is_found_again(tmp_path: Path) -> None:
    whole: Any = open_images("digits:train", transform=None)
    part = whole.subset(np.arange(5, len(whole), 7))
    write_list(tmp_path / "part.txt", part)
    again: Any = open_images(f"digits:train:only={tmp_path / 'part.txt'}", transform=None)
    assert again.sample_ids == part.sample_ids
    assert again.labels.tolist() == part.labels.tolist()
    assert list_text(again) == list_text(part)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("9999 0\n", ["'9999'", "is not in these data"]),
        ("0003 0\n0003 0\n", ["'0003'", "is named twice"]),
        ("# nothing\n", ["names no rows"]),
        ("word\n", ["line 1", "'word'"]),
    ],
)
def test_other_lists_are_refused(text: str, parts: list[str], tmp_path: Path, refused: Any) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with refused(*parts, "list.txt"):
        open_images(f"digits:only={path}", transform=None)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ValueError, OSError), match=r"gone\.txt"):
        open_images(f"digits:only={tmp_path / 'gone.txt'}", transform=None)


def test_a_source_without_the_word_stays_whole() -> None:
    assert divided("digits:train") == ("digits:train", None)
    assert divided("a:only=b:only=c.txt") == ("a:only=b", Path("c.txt"))
    assert divided(":only=c.txt") == (":only=c.txt", None)
    assert divided("a:only=") == ("a:only=", None)
