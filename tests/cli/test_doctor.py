"""What `rebalance doctor` prints, and its exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from featurecache import doctor
from featurecache.checkup.finding import Finding, failed, passed, warned

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

GOOD, ODD = passed("locks", "are kept"), warned("threads", "64 for 2 cores", "export OMP_NUM_THREADS=2")
BAD = failed("flushing", "the disk\x1b[31m cannot flush", "use another disk")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the doctor finds, to be filled by the test."""
    findings: list[Finding] = []

    def examine(_folder: Path) -> Iterator[Finding]:
        return iter(findings)

    monkeypatch.setattr(doctor, "examine", examine)
    return findings


def test_a_line_a_finding_with_its_mending(found: list[Finding], done: Run) -> None:
    found += [GOOD, ODD]
    lines = done("doctor").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["PASS", "locks", "are", "kept"],
        ["WARN", "threads", "64", "for", "2", "cores;", "export", "OMP_NUM_THREADS=2"],
        ["1", "PASS,", "1", "WARN"],
    ]


def test_the_exit_code_is_1_where_anything_fails(found: list[Finding], run: Run) -> None:
    found += [BAD, GOOD]
    result = run("doctor")
    assert result.exit_code == 1
    assert "FAIL  flushing" in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stdout.endswith("1 PASS, 1 FAIL\n")


def test_json_is_one_object(found: list[Finding], answer: Answer, tmp_path: Path) -> None:
    found += [GOOD, ODD]
    assert answer("doctor", tmp_path) == {
        "folder": str(tmp_path),
        "status": "WARN",
        "findings": [
            {"name": "locks", "status": "PASS", "said": "are kept", "mend": ""},
            {
                "name": "threads",
                "status": "WARN",
                "said": "64 for 2 cores",
                "mend": "export OMP_NUM_THREADS=2",
            },
        ],
    }


def test_an_installation_that_cannot_be_imported_is_a_finding(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setitem(sys.modules, "featurecache.doctor", None)
    result = run("doctor")
    assert result.exit_code == 1
    assert result.stdout.startswith("FAIL  import ")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, refused: Refused) -> None:
    refused("doctor", tmp_path / "absent", holds=("no such folder",))
