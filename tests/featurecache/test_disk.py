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


@pytest.mark.usefixtures("handles")
def test_create_gives_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    file = disk.create(path)
    try:
        assert path.read_bytes() == b""
        disk.write_at(file, b"new", 1)
        assert os.pread(file, 9, 0) == b"\0new"
        disk.truncate(file, 2)
        assert path.read_bytes() == b"\0n"
    finally:
        os.close(file)


def test_publish_flushes_before_and_after_the_rename(tmp_path: Path, watched: Any) -> None:
    (tmp_path / "a.part").write_bytes(b"x")
    done = watched("sync", "rename", "sync_folder")
    disk.publish(tmp_path / "a.part", tmp_path / "a")
    assert done == [("sync", "a.part"), ("rename", "a.part", "a"), ("sync_folder", tmp_path.name)]


@pytest.mark.usefixtures("handles")
def test_a_flush_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda handle: synced.append(os.fstat(handle).st_ino), raising=False)
    file = disk.create(tmp_path / "a")
    disk.sync(file)
    os.close(file)
    disk.sync_folder(tmp_path)
    assert synced == [(tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_network_disk_may_have_no_folder_to_flush(
    number: int, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", broken)
    if passes:
        disk.sync_folder(tmp_path)
    else:
        with pytest.raises(OSError, match="Input/output"):
            disk.sync_folder(tmp_path)


def test_remove_takes_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    for _ in range(2):
        disk.remove(tmp_path / "a")
    assert os.listdir(tmp_path) == ["b"]


def test_folders_are_made_durably(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(disk, "sync_folder", flushed.append)
    disk.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert flushed[-2:] == [tmp_path, tmp_path / "a"]
    flushed.clear()
    disk.make_folder(tmp_path / "a" / "b")  # whoever made it may have been stopped before the flush
    assert flushed == [tmp_path / "a"]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        disk.make_folder(tmp_path / "file")


def test_a_folder_is_removed_only_when_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    disk.remove_folder(tmp_path / "a")
    assert (tmp_path / "a" / "file").exists()
    (tmp_path / "a" / "file").unlink()
    for _ in range(2):
        disk.remove_folder(tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("operation", ["create", "write_at", "sync", "rename", "sync_folder"])
@pytest.mark.usefixtures("handles")
def test_a_small_file_is_written_whole_or_not_at_all(operation: str, tmp_path: Path, failing: Any) -> None:
    path = tmp_path / "file"
    disk.write_bytes(path, b"old")
    with pytest.raises(OSError, match="No space left"), failing(operation, at=1) as calls:
        disk.write_bytes(path, b"new")
    assert calls == [1]
    assert os.listdir(tmp_path) == ["file"]
    # The last operation makes the new name last: it is there already.
    assert path.read_bytes() == (b"new" if operation == "sync_folder" else b"old")


def test_a_small_file_reaches_the_disk_before_its_name(tmp_path: Path, watched: Any) -> None:
    done = watched("create", "write_at", "sync", "rename", "sync_folder")
    disk.write_bytes(tmp_path / "a", b"x")
    assert [name for name, *_ in done] == ["create", "write_at", "sync", "rename", "sync_folder"]


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


def test_read_at_fills_the_buffer_as_far_as_there_are_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, views, place: whole(file, [views[0][:3]], place))  # short reads
    with disk.opened(tmp_path / "file") as file:
        for place, size, wanted in [
            (0, 10, b"0123456789"),
            (2, 5, b"23456"),
            (8, 5, b"89"),
            (10, 5, b""),
            (99, 5, b""),
        ]:
            buffer = bytearray(size)
            assert disk.read_at(file.fileno(), memoryview(buffer), place) == len(wanted)
            assert buffer[: len(wanted)] == wanted
        assert disk.size_of(file) == 10
