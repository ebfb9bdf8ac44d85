"""A real file system that is too small, and the command on a disk that fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from featurecache import extract

from .disks import Failing, on
from .full import FAULTS

MEGABYTES = 8
ROWS, WIDTH, BATCH = 800, 4096, 8  # 13 MB of features
MODEL = """
import torch
from torch import nn
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 10))
"""


class _Counted(Dataset[tuple[Tensor, int]]):
    """Rows that are counted when they are read. read: which were."""

    def __init__(self) -> None:
        self.read: set[int] = set()
        self.labels = [row % 3 for row in range(ROWS)]  # known beforehand: no row is read to tell the data apart

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        self.read.add(row)
        return torch.full((4,), float(row)), row % 3


@contextmanager
def small_file_system(folder: Path) -> Iterator[bool]:
    """Inside the block the folder is a file system of 8 MB; False where this user may not make one."""
    made = (
        sys.platform == "linux"
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    try:
        yield made
    finally:
        if made:
            subprocess.run(["umount", str(folder)], check=True)


def extract_too_much(folder: Path) -> tuple[str, int, int]:
    """Extract 13 MB into a folder: the refusal, how many rows had been read, and how many bytes are left behind."""
    data = _Counted()
    try:
        extract(
            nn.Sequential(nn.Linear(4, WIDTH), nn.Linear(WIDTH, 3)),
            {"train": data},
            folder / "c",
            batch_size=BATCH,
            dtype="float32",
        )
    except OSError as error:
        left = sum(path.stat().st_size for path in folder.rglob("*.h5*"))
        return str(error), len(data.read), left
    raise ValueError("13 MB went into 8 MB")


def command(folder: Path, fault: str, at: int) -> tuple[int, list[str]]:
    """Run `rebalance extract` in a process of its own; its exit code and the lines on its standard error.

    fault: of crashing.full.FAULTS, or "none". at: the operation at which it happens.
    """
    (folder / "network.py").write_text(MODEL)
    words = ["extract", str(folder / "c"), "--model", f"file:{folder / 'network.py'}:network", "--image-size", "8"]
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); from crashing.real import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, fault, str(at), *words, "--split", "train=digits:train"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


def main() -> None:
    """The command line, on a disk that fails: FAULT OPERATION WORDS…"""
    from rebalance_cli.main import cli

    fault, at, *words = sys.argv[1:]
    error, sticky = FAULTS.get(fault, (0, False))
    with on(Failing(0 if fault == "none" else int(at), error, sticky)):
        cli(words, prog_name="rebalance")
