"""File systems by name, and disks that cannot flush, rename or reserve."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from featurecache import disk
from featurecache.checkup import durability

Failing = Callable[..., Any]


@pytest.mark.parametrize(
    ("kind", "status"),
    [("ext4", "PASS"), ("nfs4", "WARN"), ("tmpfs", "WARN"), ("overlay", "WARN"), ("fuse.sshfs", "WARN")],
)
def test_the_kind_of_disk_is_that_of_the_nearest_mount(tmp_path: Path, kind: str, status: str) -> None:
    place = tmp_path / "with blank" / "caches"
    place.mkdir(parents=True)
    mounts = tmp_path / "mounts"
    point = str(place.parent.resolve()).replace(" ", "\\040")
    mounts.write_text(
        f"/dev/a / xfs rw 0 0\nhost:/x {point} hidden rw 0 0\nhost:/x {point} {kind} rw 0 0\nproc {point}/ca proc rw\n",
        "utf-8",
    )
    found = durability.file_system(place, mounts)
    assert found.status == status
    assert found.said.startswith(kind)
    assert durability.file_system(tmp_path, mounts).said == "xfs"


def test_a_system_without_a_list_of_mounts_is_in_order(tmp_path: Path) -> None:
    assert durability.file_system(tmp_path, tmp_path / "absent").status == "PASS"


@pytest.mark.parametrize(("free", "status"), [(10**9, "WARN"), (10**11, "PASS")])
def test_little_room_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, status: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    found = durability.room(tmp_path)
    assert found.status == status
    assert f"{free / 1e9:,.1f} GB" in found.said


LOOKS = (durability.flushing, durability.renaming, durability.reserving, durability.disk_clock)


@pytest.mark.parametrize("look", LOOKS)
def test_this_disk_passes_and_nothing_stays_open(look: Callable[[Path], Any], tmp_path: Path, handles: None) -> None:
    found = look(tmp_path)
    assert found.status == "PASS", found.said


def test_a_disk_that_cannot_flush_fails(tmp_path: Path, failing: Failing, handles: None) -> None:
    with failing("sync", 3):
        found = durability.flushing(tmp_path)
    assert found.status == "FAIL"
    assert os.strerror(errno.ENOSPC) in found.said


def test_a_slow_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(durability.time, "perf_counter", lambda: float(next(ticks)))
    found = durability.flushing(tmp_path)
    assert found.status == "WARN"
    assert found.said.startswith("1000.00 ms, the middle of 1")


def test_a_rename_that_replaces_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "rename", lambda _old, _new: None)
    assert durability.renaming(tmp_path).status == "FAIL"


def test_a_disk_that_refuses_to_replace_a_file_in_use_fails(tmp_path: Path, failing: Failing) -> None:
    with failing("rename", 1):
        assert durability.renaming(tmp_path).status == "FAIL"


def test_a_replaced_file_that_its_reader_loses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def over(new: Path, old: Path) -> None:
        old.write_bytes(new.read_bytes())
        new.unlink()

    monkeypatch.setattr(disk, "rename", over)
    assert durability.renaming(tmp_path).status == "WARN"


def test_a_disk_that_reserves_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "allocate", os.ftruncate)
    assert durability.reserving(tmp_path).status == "WARN"
    monkeypatch.setattr(disk, "allocate", lambda _file, _size: None)
    assert durability.reserving(tmp_path).status == "FAIL"


@pytest.mark.parametrize(("ahead", "words"), [(3600, "3600 s ahead"), (-60, "60 s behind")])
def test_two_clocks_that_differ_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int, words: str
) -> None:
    ours = durability.time.time() - ahead
    monkeypatch.setattr(durability.time, "time", lambda: ours)
    found = durability.disk_clock(tmp_path)
    assert found.status == "WARN"
    assert words in found.said
