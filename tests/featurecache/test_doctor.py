"""The doctor as a whole: every look leaves one finding, nothing breaks it off, and nothing of it stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from featurecache import doctor
from featurecache.checkup import sources
from featurecache.checkup.finding import Finding
from featurecache.doctor import examine

Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optional packages, which take seconds."""
    monkeypatch.setattr(sources, "TRIALS", ())


def test_every_look_at_a_folder_is_answered_and_leaves_nothing(tmp_path: Path, handles: None) -> None:
    names = [finding.name for finding in examine(tmp_path)]
    assert set(doctor.IN_THE_FOLDER) <= set(names)
    assert {"python", "torch", "threads", "shared memory", "open files", "clock"} <= set(names)
    assert len(set(names)) == len(names)
    assert list(tmp_path.iterdir()) == []


def test_whoever_stops_listening_leaves_nothing_either(tmp_path: Path) -> None:
    for finding in examine(tmp_path):
        if finding.name == "file system":
            assert [path.name.startswith(doctor.TRIED_IN) for path in tmp_path.iterdir()] == [True]
            break
    del finding
    import gc

    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_look_that_breaks_off_is_a_finding_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_spot: Path) -> Finding:
        raise RuntimeError("first line\nsecond")

    monkeypatch.setitem(doctor.IN_THE_FOLDER, "flushing", breaks)
    found = {finding.name: finding for finding in examine(tmp_path)}
    assert found["flushing"].status == "FAIL"
    assert found["flushing"].said == "cannot be looked at: RuntimeError: first line second"
    assert found["cache"].status == "PASS"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    found = {finding.name: finding for finding in examine(tmp_path)}
    tmp_path.chmod(0o700)
    assert found["folder"].status == "FAIL"


def test_a_disk_that_takes_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_given: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    (found,) = [finding for finding in examine(tmp_path) if finding.status == "FAIL"]
    assert found.name == "folder"
    assert "No space left on device" in found.said
    assert "rebalance doctor FOLDER" in found.mend


def test_what_is_no_folder_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "file").touch()
    with refused("no such folder"):
        examine(tmp_path / "absent")
    with refused("not a folder"):
        examine(tmp_path / "file")
