"""The program: help, exit codes, what becomes of errors and signals."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from rebalance import METHODS
from rebalance_cli import demo
from rebalance_cli.main import Program, cli
from rebalance_cli.options import Common, common

Run = Callable[..., Result]

ORDER = [
    "demo",
    "train",
    "extract",
    "info",
    "verify",
    "convert",
    "fit",
    "tune",
    "evaluate",
    "compare",
    "export",
    "predict",
    "doctor",
]
GROUPS = ("fit", "tune")
LEAVES = [
    *([name] for name in ORDER if name not in GROUPS),
    *([group, method] for group in GROUPS for method in METHODS),
]
HEAVY = ("torch", "numpy", "h5py", "pandas", "rich", "sklearn", "scipy", "matplotlib", "PIL", "timm", "torchvision")


def examples(help_text: str) -> list[str]:
    """The lines under "Example:", which must be the last thing in a help."""
    before, _, after = help_text.rpartition("Example:\n")
    assert before, "there is no example"
    return [line.strip() for line in after.rstrip("\n").split("\n")]


def parse(line: str) -> None:
    """Parse a command line as the program would, and run nothing."""
    program, *words = shlex.split(line)
    assert program == "rebalance"
    command: click.Command = cli
    parent = None
    while isinstance(command, click.Group):
        name, *words = words
        parent = click.Context(command, info_name=name, parent=parent, **command.context_settings)
        found = command.get_command(parent, name)
        assert found is not None, f"no command {name}"
        command = found
    if "--help" not in words:
        command.make_context(command.name, words, parent=parent)


def test_commands_stand_in_the_order_of_their_use(done: Run) -> None:
    text = done("--help").stdout
    assert list(cli.commands) == ORDER
    places = [text.index(f"\n  {name} ") for name in ORDER]
    assert places == sorted(places)


@pytest.mark.parametrize("words", [[], *([name] for name in ORDER), *LEAVES[-2 * len(METHODS) :]], ids=" ".join)
def test_help_ends_with_examples_that_parse(words: list[str], done: Run) -> None:
    lines = examples(done(*words, "--help").stdout)
    for line in lines:
        assert line.startswith(" ".join(["rebalance", *words]))
        if "COMMAND" not in line:
            parse(line)


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_has_the_common_options(words: list[str], done: Run) -> None:
    text = done(*words, "--help").stdout
    for option in ("--json", "--seed", "--device [auto|cpu|cuda]", "-v, --verbose", "--help"):
        assert f" {option} " in text


def test_the_demo_ends_with_commands_that_parse() -> None:
    lines = demo.YOUR_OWN.replace("\\\n", " ").split("\n")
    commands = [line.strip() for line in lines if line.startswith("  ")]
    assert [line.split()[1] for line in commands] == ["train", "extract", "tune", "evaluate", "export"]
    for line in commands:
        parse(line)


def test_version(done: Run) -> None:
    assert done("--version").stdout.startswith("rebalance, version ")


@pytest.mark.parametrize(
    "words",
    [
        ["nosuch"],
        ["fit", "nosuch", "x.cache", "--out", "h"],
        ["fit", "crt", "x.cache"],
        ["fit", "crt", "--out", "h"],
        ["info"],
        ["info", "x.cache", "--nosuch"],
        ["info", "x.cache", "another"],
        ["info", "x.cache", "--device", "tpu"],
        ["info", "x.cache", "--seed", "-1"],
        ["train", "photos"],
        ["train", "photos", "--out", "x.pt", "--epochs", "0"],
        ["train", "photos", "--out", "x.pt", "--sampler", "nosuch"],
        ["train", "photos", "--out", "x.pt", "--holdout", "0.9"],
        ["extract", "x.cache", "--model", "run:x.pt"],
        ["extract", "x.cache", "--split", "train=photos"],
        ["predict", "x.cache", "joint"],
        ["predict", "x.cache", "--out", "p.csv"],
        ["export", "h.safetensors", "--out", "x.pt"],
        ["export", "h.safetensors", "--into", "x.pt"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(words: list[str], misused: Callable[..., str]) -> None:
    assert "Error: " in misused(*words)


class TestErrors:
    """A program of one command that fails in a given way."""

    @staticmethod
    def run(error: BaseException | None, *words: str) -> Result:
        program = Program("program")

        @click.command()
        @common
        def act(common: Common) -> None:
            if error is not None:
                raise error

        program.add_command(act)
        return CliRunner().invoke(program, ["act", *words])

    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (ValueError("a.txt line 3: bad"), "a.txt line 3: bad"),
            (ValueError("two\n   lines"), "two lines"),
            (ValueError(), "ValueError"),
            (FileNotFoundError("x.cache: no such cache"), "x.cache: no such cache"),
            (ImportError("timm is not installed"), "timm is not installed"),
        ],
    )
    def test_a_refusal_is_one_line(self, error: Exception, line: str) -> None:
        result = self.run(error)
        assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"rebalance: {line}\n")

    def test_verbose_adds_the_traceback_before_the_line(self) -> None:
        result = self.run(ValueError("bad"), "-v")
        assert result.exit_code == 1
        assert result.stderr.startswith("Traceback (most recent call last):\n")
        assert result.stderr.endswith("ValueError: bad\nrebalance: bad\n")

    def test_a_bug_is_not_called_a_refusal(self) -> None:
        bug = TypeError("'>=' not supported")
        assert self.run(bug).exception is bug

    def test_interrupted(self) -> None:
        result = self.run(KeyboardInterrupt())
        assert result.exit_code == 130
        assert len(result.stderr.strip().splitlines()) == 1
        assert "rebalance: interrupted" in result.stderr

    def test_done(self) -> None:
        result = self.run(None)
        assert (result.exit_code, result.output) == (0, "")


def test_help_of_commands_loads_nothing_heavy() -> None:
    code = (
        "import sys, rebalance_cli.main as m\n"
        f"for name in {[name for name in ORDER if name not in GROUPS]}:\n"
        "    m.cli([name, '--help'], standalone_mode=False)\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = found.stdout.split("LOADED")[1].split()
    assert "click" in loaded  # the list is really there
    assert sorted(set(loaded).intersection(HEAVY)) == []


def test_runs_as_a_module() -> None:
    words = [sys.executable, "-m", "rebalance", "nosuch"]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith("Usage: rebalance ")


def start(words: list[object], **environment: str) -> subprocess.Popen[str]:
    """The program in a process of its own that obeys SIGINT, as one at a keyboard does."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from rebalance_cli.main import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_stops_an_extraction_that_then_goes_on(
    number: int, code: int, project: Any, models: Path, tmp_path: Path, answer: Callable[..., Any]
) -> None:
    cache, reached, five = tmp_path / "x.cache", tmp_path / "reached", tmp_path / "five.txt"
    five.write_text("".join(f"{name}/00.png {k}\n" for k, name in enumerate(["cat", "dog", "eel", "fox"])))
    five.write_text(five.read_text() + "cat/01.png 0\n")  # a batch of 5 makes this model wait
    train, val = f"train={project.photos / 'train'}", f"val={five}"
    words = ["extract", cache, "--model", f"file:{models}:slow", "--image-size", 16, "--root", project.photos / "val"]
    words += ["--split", train, "--split", val]
    with start(words, REACHED=str(reached)) as process:
        until = time.monotonic() + 60
        while not reached.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, ""), err
    assert len(err.strip().splitlines()) == 1
    rows = len(list((project.photos / "train").glob("*/*")))
    assert err.endswith(f"{rows} rows are safe in {cache}; to go on: rebalance {shlex.join(map(str, words))}\n")
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == [
        "00000.h5",
        "cache.json",
        "head.safetensors",
    ]
    again = answer(*words)
    assert (again["complete_already"], again["written"]) == (["train"], {"val": 5})


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_a_reader_that_leaves_early_is_no_error(form: list[str], project: Any) -> None:
    with start(["info", project.cache, *form]) as process:
        assert process.stdout is not None
        process.stdout.close()  # as `rebalance info x.cache | head -1` does
        assert process.stderr is not None
        assert process.stderr.read() == ""
