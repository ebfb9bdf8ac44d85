"""Do the sources of models and formats that need an optional package work?"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from featurecache.checkup.finding import Finding, one_line, passed, warned
from featurecache.checkup.installed import extra_of

PROGRAM = Path(__file__).with_name("trial.py")
PATIENCE = 60.0  # seconds
QUIET = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TQDM_DISABLE": "1"}
MOST = 10_000  # bytes that are heard
ANSWERS = {"said", "absent", "error"}


@dataclass(frozen=True)
class Trial:
    """A package and what it is wanted for. argument: of the program that tries it."""

    argument: str
    name: str


TRIALS = (
    Trial("torchvision", "torchvision: models"),
    Trial("timm", "timm: models"),
    Trial("transformers", "hf: models"),
    Trial("pyarrow", "parquet files"),
    Trial("onnx", "onnx files"),
)

Running = Mapping[Trial, "subprocess.Popen[bytes]"]


@contextmanager
def begun() -> Iterator[Running]:
    """All trials at work in processes of their own, which end with the block."""
    search = os.pathsep.join(each for each in sys.path if each)  # packages are found where this process finds them
    running: dict[Trial, subprocess.Popen[bytes]] = {}
    try:
        for trial in TRIALS:
            running[trial] = subprocess.Popen(
                [sys.executable, "-P", str(PROGRAM), trial.argument],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **QUIET, "PYTHONPATH": search},
            )
        yield running
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def outcomes(running: Running) -> Iterator[Finding]:
    """What came of every trial, in their order."""
    for trial, process in running.items():
        yield _outcome(trial, process)


def _outcome(trial: Trial, process: subprocess.Popen[bytes]) -> Finding:
    try:
        heard, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return warned(trial.name, f"{trial.argument} did not answer in {PATIENCE:.0f} s", _mend(trial.argument))
    if process.returncode:
        return warned(trial.name, f"{trial.argument} {_fate(process.returncode)}", _mend(trial.argument))
    kind, text = _answer(heard)
    if kind == "absent":
        return passed(trial.name, f"{trial.argument} is not installed; {extra_of(trial.argument)}")
    if kind == "said":
        return passed(trial.name, text)
    return warned(trial.name, f"{trial.argument} is installed and does not work: {text}", _mend(trial.argument))


def _answer(heard: bytes) -> tuple[str, str]:
    try:
        found = json.loads(heard[:MOST])
        kind, text = next(iter(found.items()))
    except (ValueError, AttributeError, StopIteration):
        kind, text = "error", "it printed something else than its answer"
    return (kind, one_line(text)) if kind in ANSWERS else ("error", "it printed something else than its answer")


def _fate(code: int) -> str:
    if code > 0:
        return f"ended the process with exit code {code}"
    try:
        return f"crashed the process ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashed the process (signal {-code})"


def _mend(package: str) -> str:
    if package in ("torchvision", "timm"):
        return f"pip install --force-reinstall --no-deps {fitting_torchvision()}, then timm the same way if need be"
    return f"pip install --force-reinstall --no-deps {package}"


def fitting_torchvision() -> str:
    """The torchvision that belongs to this PyTorch: 0.(n + 15) to 2.n, ever since 2.0."""
    major, _, rest = importlib.metadata.version("torch").partition(".")
    minor = rest.partition(".")[0]
    return f"torchvision==0.{int(minor) + 15}.*" if major == "2" and minor.isdigit() else "torchvision"
