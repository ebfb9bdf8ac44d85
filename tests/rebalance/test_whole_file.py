"""Whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from rebalance.whole_file import whole_file


def write(path: Path, data: bytes, *, fail: bool = False) -> None:
    with whole_file(path) as file:
        file.write(data)
        if fail:
            raise RuntimeError("stopped")


def test_it_replaces_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "a", b"old")
    write(tmp_path / "a", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new"}


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "a", b"old")
    with pytest.raises(RuntimeError, match="stopped"):
        write(tmp_path / "a", b"half", fail=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


@pytest.mark.parametrize("name", ["", "nowhere/a"])
def test_no_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a file's name in a folder that is there"):
        write(tmp_path / name, b"x")
