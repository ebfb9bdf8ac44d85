"""What becomes of a trial that answers, does not, or dies."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import pytest

from featurecache.checkup import sources
from featurecache.checkup.finding import Finding

Outcome = Callable[[str], Finding]


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Outcome:
    """The finding of a trial whose program is this Python code."""

    def run(code: str) -> Finding:
        program = tmp_path / "program.py"
        program.write_text(code, "utf-8")
        monkeypatch.setattr(sources, "PROGRAM", program)
        monkeypatch.setattr(sources, "TRIALS", (sources.Trial("timm", "timm: models"),))
        with sources.begun() as running:
            (found,) = sources.outcomes(running)
        return found

    return run


def test_an_answer_is_passed_on(outcome: Outcome, handles: None) -> None:
    found = outcome("""print('{"said": "built and run"}')""")
    assert (found.name, found.status, found.said) == ("timm: models", "PASS", "built and run")


def test_an_absent_package_is_in_order_and_says_how_to_get_it(outcome: Outcome) -> None:
    found = outcome("""print('{"absent": "timm"}')""")
    assert found.status == "PASS"
    assert "not installed; pip install 'featurecache-rebalance[timm]'" in found.said


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("""print('{"error": "RuntimeError: half of it"}')""", "does not work: RuntimeError: half of it"),
        ("import os; os.kill(os.getpid(), 11)", "crashed the process (SIGSEGV)"),
        ("raise SystemExit(3)", "exit code 3"),
        ("print('welcome!')", "something else than its answer"),
        ("print('[1, 2]')", "something else than its answer"),
        ("""print('{"odd": 1}')""", "something else than its answer"),
    ],
)
def test_whatever_goes_wrong_is_a_warning_with_a_way_out(outcome: Outcome, code: str, words: str) -> None:
    found = outcome(code)
    assert found.status == "WARN"
    assert words in found.said
    assert "torchvision==0." in found.mend


def test_one_that_never_answers_is_ended(outcome: Outcome, monkeypatch: pytest.MonkeyPatch, handles: None) -> None:
    monkeypatch.setattr(sources, "PATIENCE", 0.3)
    found = outcome("import time; time.sleep(60)")
    assert found.status == "WARN"
    assert "did not answer" in found.said


@pytest.mark.parametrize(
    ("torch", "wanted"),
    [("2.13.0+cpu", "torchvision==0.28.*"), ("2.10.1", "torchvision==0.25.*"), ("3.0", "torchvision")],
)
def test_the_torchvision_of_a_pytorch(monkeypatch: pytest.MonkeyPatch, torch: str, wanted: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: torch)
    assert sources.fitting_torchvision() == wanted
