"""Folders that hold nothing but images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featurecache.datasets.plain_folder import is_plain_folder, open_plain_folder


def pixels(image: Image.Image) -> torch.Tensor:
    """One number: its red."""
    return torch.tensor([float(np.asarray(image)[0, 0, 0])])


def save(folder: Path, *names: str) -> None:
    """Images whose red is their place among the names."""
    for place, name in enumerate(names):
        Image.new("RGB", (3, 3), (place, 0, 0)).save(folder / name, format="PNG")


def test_images_in_the_order_of_their_names(tmp_path: Path) -> None:
    save(tmp_path, "b.png", "a.JPG", "ü.png", ".hidden.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".git").mkdir()
    assert is_plain_folder(str(tmp_path))
    images = open_plain_folder(str(tmp_path), transform=pixels, class_names=["x", "y"])
    assert images.sample_ids == ["a.JPG", "b.png", "ü.png"]
    assert [(float(value), label) for value, label in images] == [(1, -1), (0, -1), (2, -1)]
    assert (images.labels.tolist(), images.class_names) == ([-1] * 3, ("x", "y"))
    assert len(images.notes) == 1
    assert "1 files passed over" in images.notes[0]


def test_what_is_not_plain(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    save(tmp_path, "a.png")
    for source in (tmp_path, tmp_path / "a.png", tmp_path / "nosuch"):
        assert not is_plain_folder(str(source))
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "link").symlink_to(tmp_path / "cat")
    assert not is_plain_folder(str(tmp_path / "list"))


def test_no_images(tmp_path: Path, refused: Callable[..., Any]) -> None:
    assert is_plain_folder(str(tmp_path))
    with refused("has no images", "class folders"):
        open_plain_folder(str(tmp_path), transform=None)


@pytest.mark.skipif(os.name == "nt", reason="names are texts there")
def test_a_name_that_is_not_utf8(tmp_path: Path, refused: Callable[..., Any]) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    with refused("not UTF-8"):
        open_plain_folder(str(tmp_path), transform=None)
