"""What the tests of the commands share: ways to run them, and one small project made by the commands themselves."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from featurecache import write
from rebalance import METHODS
from rebalance_cli.main import cli

Run: TypeAlias = Callable[..., Result]
Answer: TypeAlias = Callable[..., dict[str, Any]]
Refused: TypeAlias = Callable[..., str]

CLASSES = ("cat", "dog", "eel", "fox")
ROWS = {"train": (30, 14, 6, 3), "val": (4, 4, 4, 4), "test": (6, 6, 6, 6)}
LONGEST = 800  # characters of a message: what fits on a screen


def _run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], prog_name="rebalance")


def _done(*words: object) -> Result:
    result = _run(*words)
    assert result.exit_code == 0, result.output
    return result


def _answer(*words: object) -> dict[str, Any]:
    result = _done(*words, "--json")
    assert result.stdout.count("\n") == 1, "exactly one line, one object"
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def _one_line(result: Result, code: int) -> str:
    assert isinstance(result.exception, SystemExit), f"a crash, no refusal: {result.exception!r}"
    assert (result.exit_code, result.stdout) == (code, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 1, f"a refusal is one line: {result.stderr}"
    assert lines[0].startswith("rebalance: ")
    assert len(lines[0]) < LONGEST
    return lines[0]


def _refused(*words: object, holds: tuple[object, ...] = ()) -> str:
    line = _one_line(_run(*words), 1)
    for part in holds:
        assert str(part) in line
    return line


def _misused(*words: object, holds: tuple[str, ...] = ()) -> str:
    result = _run(*words)
    assert isinstance(result.exception, SystemExit), f"a crash, no refusal: {result.exception!r}"
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: ")
    message = " ".join(result.stderr.split())
    for part in holds:
        assert part in message
    return message


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs the program with these words, whatever comes of it."""
    return _run


@pytest.fixture(scope="session")
def done() -> Run:
    """Runs the program and expects exit code 0."""
    return _done


@pytest.fixture(scope="session")
def answer() -> Answer:
    """Runs the program with --json and returns the one object on stdout."""
    return _answer


@pytest.fixture(scope="session")
def refused() -> Refused:
    """Runs the program and expects exit code 1 and one line on stderr that holds all of `holds`; returns the line."""
    return _refused


@pytest.fixture(scope="session")
def misused() -> Refused:
    """Runs the program and expects exit code 2 and usage on stderr that holds all of `holds`."""
    return _misused


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The program takes over SIGTERM and SIGHUP; afterwards they are as they were."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@dataclass(frozen=True)
class Project:
    """What a user has after train, extract and fit; shared, so nothing in it may be changed.

    photos: train/, val/ and test/, each a folder of class folders. model: a run file whose training rows and held-out
    rows are in joint.train.txt and joint.val.txt beside it. cache: of the three splits. heads: fitted, by method.
    """

    photos: Path
    model: Path
    cache: Path
    heads: dict[str, Path]


def _draw(path: Path, base: Any, random: np.random.Generator) -> None:
    pixels = np.kron(base, np.ones((4, 4, 1))) + random.normal(0, 25, size=(16, 16, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project; four classes of noisy 16 x 16 tiles, a long tail in train."""
    folder = tmp_path_factory.mktemp("project")
    random = np.random.default_rng(0)
    bases = {name: random.integers(40, 215, size=(4, 4, 3)) for name in CLASSES}
    for split, rows in ROWS.items():
        for name, count in zip(CLASSES, rows, strict=True):
            for i in range(count):
                _draw(folder / "photos" / split / name / f"{i:02}.png", bases[name], random)
    photos, model, cache = folder / "photos", folder / "joint.pt", folder / "photos.cache"
    _done("train", photos / "train", "--out", model, "--image-size", 16, "--epochs", 8, "--batch-size", 8)
    _done(
        "extract", cache, "--model", f"run:{model}", "--root", photos / "train",
        "--split", f"train={model.with_name('joint.train.txt')}",
        *(part for name in ("val", "test") for part in ("--split", f"{name}={photos / name}")),
    )  # fmt: skip
    heads = {}
    for method in METHODS:
        heads[method] = folder / f"{method}.safetensors"
        _done("fit", method, cache, "--out", heads[method])
    return Project(photos, model, cache, heads)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Twelve rows of four features in three classes; two rows have no label."""
    labels = np.array([0, 1, 2, -1] + [0, 1] * 3 + [2, -1])
    np.savez(tmp_path / "x.npz", feats=np.arange(48.0).reshape(12, 4), classes=labels, logits=np.ones((12, 3)))
    return tmp_path / "x.npz"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Two splits with a head."""
    for name, rows in {"train": 6, "val": 4}.items():
        write(tmp_path / "x.cache", name, np.ones((rows, 3)), [0, 1] * (rows // 2), head=(np.ones((2, 3)), np.ones(2)))
    return tmp_path / "x.cache"


MODELS = '''\
import os
import time
from pathlib import Path

import torch
from torch import nn


class Tiles(nn.Module):
    """A classifier of mean colours in four quarters; `broken` makes dark images NaN, `slow` waits at batches of 5."""

    def __init__(self, classes=4, broken=False, slow=False):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(12, classes)
        self.broken, self.slow = broken, slow

    def forward(self, images):
        if self.slow and len(images) == 5 and "REACHED" in os.environ:
            Path(os.environ["REACHED"]).touch()
            time.sleep(60)
        features = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
        if self.broken:
            features = torch.where((images.mean(dim=(1, 2, 3)) < 0.02)[:, None], torch.nan, features)
        return self.fc(features)


def tiles(num_classes):
    return Tiles(num_classes)


def three():
    return Tiles(3)


def broken():
    return Tiles(broken=True)


def slow():
    return Tiles(slow=True)


def no_classifier():
    return nn.Sequential(nn.Flatten(), nn.ReLU())


def fails():
    raise RuntimeError("first line\\nsecond line")


def a_list():
    return [1, 2]
'''


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python file of a user's: tiles, three, broken, slow, no_classifier, fails, a_list."""
    path = tmp_path_factory.mktemp("models") / "models.py"
    path.write_text(MODELS, "utf-8")
    return path
