"""The trial of the locks: against a real second process, and on disks whose locks do nothing."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

import pytest

from featurecache.checkup import locking


def test_locks_of_a_local_disk_pass(tmp_path: Path, handles: None) -> None:
    found = locking.locking(tmp_path)
    assert found.status == "PASS", found.said
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_given: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    found = locking.locking(tmp_path)
    assert found.status == "WARN"
    assert "knows no file locks" in found.said


def test_locks_that_keep_nobody_out_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_given: None)
    found = locking.locking(tmp_path)
    assert found.status == "FAIL"
    assert "two processes hold the same lock" in found.said


def test_a_lock_that_outlives_its_holder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = "import time\nif os.fork() == 0:\n    time.sleep(1)\n    os._exit(0)\nprint("
    monkeypatch.setattr(locking, "HOLDER", locking.HOLDER.replace("print(", inherited))
    monkeypatch.setattr(locking, "PATIENCE", 0.1)
    found = locking.locking(tmp_path)
    assert found.status == "WARN"
    assert "still held after 0.1 s" in found.said


def test_a_second_process_that_cannot_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "HOLDER", "raise SystemExit(1)")
    assert locking.locking(tmp_path).status == "WARN"
