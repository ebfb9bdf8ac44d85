"""Paths of strangers: which are followed, and how they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from featurecache.datasets.paths import MISSING, Root, checked, unsafe


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("C:/a.jpg", "absolute"),
        ("a/../../b.jpg", ".."),
        ("..", ".."),
        ("a\\b.jpg", "backslash"),
        ("a\udcff.jpg", "not UTF-8"),
        ("a\0b.jpg", "control"),
        ("a\nb.jpg", "control"),
        ("\x1b[31m.jpg", "control"),
    ],
)
def test_unsafe_paths_are_named(path: str, reason: str) -> None:
    assert reason in str(unsafe(path))


@pytest.mark.parametrize("path", ["a.jpg", "a b/ü.jpg", "..a/b..jpg", "a/...", "日本/é.png", "a:b.jpg"])
def test_odd_but_safe_paths_pass(path: str) -> None:
    assert unsafe(path) is None


def test_links_out_of_the_root_are_found(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "root2"
    for folder in (root / "in", outside):
        folder.mkdir(parents=True)
        (folder / "a.jpg").touch()
    (root / "file.jpg").symlink_to(outside / "a.jpg")
    (root / "folder").symlink_to(outside)
    (root / "same.jpg").symlink_to(root / "in" / "a.jpg")
    (root / "broken.jpg").symlink_to(root / "nothing")
    judge = Root(root).find
    assert judge("in/a.jpg") is None
    assert judge("same.jpg") is None
    assert judge("in/b.jpg") == judge("gone/b.jpg") == judge("broken.jpg") == MISSING
    assert judge("in") == "is not a regular file"
    assert "out of the root" in str(judge("file.jpg"))
    assert "out of the root" in str(judge("folder/a.jpg"))


def test_a_root_that_is_itself_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Root(tmp_path / "link").find("a.jpg") is None


def test_a_missing_root_is_refused(tmp_path: Path, refused: Any) -> None:
    with refused("'", "is not a folder", error=NotADirectoryError):
        Root(tmp_path / "none")


def test_checked_paths_are_plain_and_different(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "in/b.jpg"):
        (tmp_path / name).touch()

    def judge(*paths: str) -> list[str]:
        return checked(paths, tmp_path, source="list", place=lambda i: f"line {i + 1}")

    assert judge("./in//b.jpg", "a.jpg") == ["in/b.jpg", "a.jpg"]
    assert judge() == []
    with refused("list line 2: 'a.jpg' is already in line 1"):
        judge("a.jpg", "./a.jpg")
    with refused("list line 2: 'x' is not in", "(2 of 3 images are missing)", "--root"):
        judge("a.jpg", "x", "y")
    with refused("list line 1: 'in' is not a regular file"):
        judge("in")
    with refused("list line 1: path '../a.jpg' climbs out"):
        judge("../a.jpg")
