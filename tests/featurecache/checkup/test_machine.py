"""Cores, shared memory, open files and the clock."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from featurecache.checkup import machine


def group(folder: Path, files: dict[str, str]) -> None:
    """A folder of a control group."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, "ascii")


@pytest.mark.parametrize(
    ("said", "there", "cores"),
    [("200000 100000", 8, 2), ("150000 100000", 8, 2), ("max 100000", 8, 8), ("50000 100000", 8, 1), ("junk", 3, 3)],
)
def test_a_containers_share_of_time_bounds_the_cores(tmp_path: Path, said: str, there: int, cores: int) -> None:
    group(tmp_path / "sys" / "mine", {"cpu.max": said})
    (tmp_path / "groups").write_text("0::/mine\n", "ascii")
    assert machine.usable_cores(tmp_path / "groups", tmp_path / "sys", there) == cores


def test_the_narrowest_of_the_groups_above_counts(tmp_path: Path) -> None:
    group(tmp_path / "sys" / "slice" / "mine", {"cpu.max": "max 100000"})
    group(tmp_path / "sys" / "slice", {"cpu.max": "300000 100000"})
    (tmp_path / "groups").write_text("0::/slice/mine\n", "ascii")
    assert machine.usable_cores(tmp_path / "groups", tmp_path / "sys", 8) == 3


def test_the_older_kind_of_groups_is_read_too(tmp_path: Path) -> None:
    group(tmp_path / "sys" / "cpu,cpuacct", {"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"})
    (tmp_path / "groups").write_text("4:memory:/x\n2:cpu,cpuacct:/docker/not-shown-in-here\n", "ascii")
    assert machine.usable_cores(tmp_path / "groups", tmp_path / "sys", 8) == 4
    group(tmp_path / "sys" / "cpu,cpuacct", {"cpu.cfs_quota_us": "-1\n"})
    assert machine.usable_cores(tmp_path / "groups", tmp_path / "sys", 8) == 8


def test_without_groups_all_cores_count(tmp_path: Path) -> None:
    assert machine.usable_cores(tmp_path / "absent", tmp_path, 5) == 5


def test_more_threads_than_cores_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    found = machine.threads()
    assert (found.status, found.mend) == ("WARN", "export OMP_NUM_THREADS=2")
    assert found.said.startswith("64 for 2 usable cores")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert machine.threads().status == "PASS"


@pytest.mark.parametrize(("free", "status"), [(2**26, "WARN"), (2**33, "PASS")])
def test_little_shared_memory_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, status: str) -> None:
    room = SimpleNamespace(f_blocks=2 * free // 4096, f_bavail=free // 4096, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _path: room)
    found = machine.shared_memory(tmp_path)
    assert found.status == status
    assert f"{free // 2**20:,} of {2 * free // 2**20:,} MiB" in found.said


def test_a_system_that_shares_memory_otherwise_is_in_order(tmp_path: Path) -> None:
    assert machine.shared_memory(tmp_path / "absent").status == "PASS"


@pytest.mark.parametrize(("soft", "status"), [(256, "WARN"), (1024, "PASS"), (resource.RLIM_INFINITY, "PASS")])
def test_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch, soft: int, status: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, 4096))
    found = machine.open_files()
    assert found.status == status
    assert ("ulimit -n 1024 (at most 4096 here)" in found.mend) == (status == "WARN")


def test_a_clock_that_was_reset_is_told() -> None:
    assert machine.clock().status == "PASS"
    found = machine.clock(now=86400.0 * 365)
    assert found.status == "WARN"
    assert "1971-01-01 00:00 UTC" in found.said
