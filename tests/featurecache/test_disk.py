"""The file operations: whole or absent, and only regular files are read."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache import disk


def test_part_name_is_in_the_same_folder() -> None:
    # A rename is atomic only within one file system.
    assert disk.part_name(Path("a/b/00000.h5")) == Path("a/b/00000.h5.part")


def test_write_at_goes_on_after_a_short_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: whole(file, data[:3], offset))
    path = tmp_path / "file"
    path.write_bytes(b"-" * 20)
    with path.open("r+b") as file:
        disk.write_at(file.fileno(), b"0123456789", 5)
    assert path.read_bytes() == b"-----0123456789-----"


def test_write_at_takes_a_view_of_any_items(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        disk.write_at(file.fileno(), memoryview(bytes(range(8))).cast("I"), 2)
        disk.write_at(file.fileno(), b"", 0)
    assert path.read_bytes() == b"\0\0" + bytes(range(8))


def test_allocate_reserves_the_size_and_keeps_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with path.open("r+b") as file:
        disk.allocate(file.fileno(), 10_000)
    assert path.read_bytes() == b"abc" + bytes(9_997)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_allocate_grows_the_file_where_nothing_can_be_reserved(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    with (tmp_path / "file").open("wb") as file:
        disk.allocate(file.fileno(), 5_000)
    assert (tmp_path / "file").stat().st_size == 5_000


def test_allocate_works_without_the_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    with (tmp_path / "file").open("wb") as file:
        disk.allocate(file.fileno(), 5_000)
    assert (tmp_path / "file").stat().st_size == 5_000


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_allocate_reports_a_full_or_broken_disk(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", broken)
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError) as caught:  # noqa: PT011
        disk.allocate(file.fileno(), 5_000)
    assert caught.value.errno == number


def test_publish_flushes_before_and_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, str]] = []
    rename = os.replace

    def replace(source: Path, target: Path) -> None:
        done.append(("rename", target.name))
        rename(source, target)

    monkeypatch.setattr(disk, "flush", lambda path: done.append(("flush", path.name)))
    monkeypatch.setattr(os, "replace", replace)
    (tmp_path / "a.part").write_bytes(b"x")
    disk.publish(tmp_path / "a.part", tmp_path / "a")
    assert done == [("flush", "a.part"), ("rename", "a"), ("flush", tmp_path.name)]


def test_flush_reaches_the_disk_and_closes_what_it_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[os.stat_result] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle)))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    (tmp_path / "a").write_bytes(b"x")
    disk.flush(tmp_path / "a")
    disk.flush(tmp_path)
    assert [status.st_ino for status in synced] == [(tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino]
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_replacing_shows_the_file_only_when_it_is_whole(tmp_path: Path) -> None:
    final = tmp_path / "file"
    final.write_text("old")
    with disk.replacing(final) as part:
        part.write_text("new")
        assert final.read_text() == "old"
    assert final.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_replacing_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    final = tmp_path / "file"
    final.write_text("old")

    def stop() -> None:
        with disk.replacing(final) as part:
            part.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert final.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3).filter(str.isascii), inner),
        max_leaves=6,
    )
)
def test_json_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "file.json"
    disk.write_json(path, value)
    assert json.loads(path.read_bytes()) == value


def test_read_head_gives_the_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert disk.read_head(path, 4) == b"0123"
    assert disk.read_head(path, 100) == b"0123456789"
    assert disk.read_head(path, 0) == b""


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "device"])
def test_read_head_refuses_what_is_no_regular_file(kind: str, tmp_path: Path, refused: Any) -> None:
    path = tmp_path / "file"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    handles = Path("/proc/self/fd")
    before = len(os.listdir(handles)) if handles.exists() else 0
    with refused(str(path), error=OSError):
        disk.read_head(path, 100)
    if before:
        assert len(os.listdir(handles)) == before


def test_only_regular_files_are_opened(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    with disk.open_regular(tmp_path / "file") as file:
        assert file.read() == b"x"
    with refused("not a regular file"):
        disk.open_regular(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        disk.open_regular(tmp_path)
