"""One part, in this process: python -m device.part NAME DEVICE LINES [--quick], where the packages can be imported."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from device.parts import PARTS
from device.place import Place
from device.record import Record


def run(name: str, device: str, lines: Path, *, quick: bool) -> None:
    """Run a part; what it finds is appended to the file `lines`."""
    record = Record(Place(torch.device(device)), lines)
    with record.guarded(name):
        PARTS[name](record, quick=quick)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), quick="--quick" in sys.argv[4:])
