"""A process that reads a stranger's file, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from featurecache.convert import child
from featurecache.convert.child import Child

Started: TypeAlias = Callable[[str], Child]


@pytest.fixture
def started(tmp_path: Path) -> Started:
    """A process that runs these lines; the file is its argument 1."""

    def start(lines: str) -> Child:
        program = tmp_path / "program.py"
        program.write_text(f"import json, os, signal, sys, time\nfile = int(sys.argv[1])\n{lines}", "utf-8")
        (tmp_path / "data").write_bytes(b"content")
        with (tmp_path / "data").open("rb") as file:
            return Child(program, file, "more", library="Some", environment={"SOME": "thing"})

    return start


def test_it_inherits_the_file_and_answers(started: Started) -> None:
    lines = (
        "told = json.loads(sys.stdin.readline())\n"
        "print(json.dumps({'read': os.read(file, 9).decode(), 'told': told, 'more': sys.argv[2:]}))\n"
        "print('12345678', end='')"
    )
    with started(lines) as process:
        process.tell({"a": 1})
        assert process.line() == {"read": "content", "told": {"a": 1}, "more": ["more"]}
        assert process.exactly(3) + process.exactly(5) == b"12345678"


def test_it_gets_no_environment_but_its_own(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "of the parent's")
    with started("print(json.dumps(dict(os.environ)))") as process:
        found = process.line()
    assert found["SOME"] == "thing"
    assert "A_SECRET" not in found


def test_it_ends_with_the_block(started: Started) -> None:
    with started("print(json.dumps({'pid': os.getpid()}), flush=True)\ntime.sleep(60)") as process:
        pid = process.line()["pid"]
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", ("the Some library crashed (signal 11) on it",)),
        ("os.kill(os.getpid(), signal.SIGXCPU)", ("took too long or too much memory",)),
        ("sys.exit(3)", ("the Some library stopped on it",)),
        ("print(json.dumps({'error': 'two\\nlines'}))", ("refused it", "two\\nlines")),
        ("print('no JSON')", ("refused it",)),
        ("print('[' * 100_000)", ("refused it",)),
        ("sys.stdout.write('x' * 9_000_000); sys.stdout.flush(); time.sleep(9)", ("has no end",)),
    ],
    ids=["crash", "time", "stop", "error", "text", "nested", "endless"],
)
def test_whatever_becomes_of_it_is_one_line(lines: str, parts: tuple[str, ...], started: Started, refused: Any) -> None:
    with started(lines) as process, refused(*parts):
        process.line()


def test_silence_ends(started: Started, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "SECONDS", 0.3)
    with started("time.sleep(60)") as process, refused("took too long"):
        process.exactly(1)
