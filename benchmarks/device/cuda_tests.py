"""The tests that need a CUDA device, each with its outcome and, where it did not pass, why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from device.checkout import ROOT
from device.record import Record

MARK = "cuda"
WHY = 2000  # characters of a reason that are kept: its end


def marked(root: Path = ROOT) -> list[str]:
    """The test files in which a test is marked; the others are not even imported."""
    files = sorted((root / "tests").rglob("test_*.py"))
    return [str(path) for path in files if f"pytest.mark.{MARK}" in path.read_text("utf-8")]


def run(record: Record, root: Path = ROOT) -> None:
    """Run them; with a line a test, and a check over all."""
    with record.guarded("tests"):
        held = record.place.forget()
        outcomes = Outcomes(record)
        options = ["-m", MARK, "-q", "-p", "no:cacheprovider", "--tb=short", "-c", str(root / "pyproject.toml")]
        code = pytest.main([*options, "--rootdir", str(root), *marked(root)], plugins=[outcomes])
        passed, others = outcomes.count("passed"), outcomes.count("failed")
        if not passed or others or code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            raise RuntimeError(f"{outcomes}; pytest ended with {int(code)}")
        record.found("tests", passed, "passed", memory=(held, record.place.peak()), note=str(outcomes))


class Outcomes:
    """A plugin of pytest that records each test as it ends."""

    def __init__(self, record: Record) -> None:
        self._record, self._found = record, list[str]()

    def count(self, outcome: str) -> int:
        """How many tests have this outcome."""
        return self._found.count(outcome)

    def __str__(self) -> str:
        return ", ".join(f"{self.count(outcome)} {outcome}" for outcome in ("passed", "failed", "skipped"))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test has been set up, run or torn down: setting up counts where it skips or fails, tearing down too."""
        if report.when == "call" or not report.passed:
            self._keep(report, report.duration)

    def pytest_collectreport(self, report: Any) -> None:
        """A file has been read: it counts where that fails, or it skips itself."""
        if not report.passed:
            self._keep(report, 0.0)

    def _keep(self, report: Any, seconds: float) -> None:
        self._found.append(report.outcome)
        self._record.test(report.nodeid, report.outcome, "" if report.passed else _why(report), seconds)


def _why(report: Any) -> str:
    """The end of a failure's text; the words of a skip."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return str(report.longreprtext)[-WHY:]
