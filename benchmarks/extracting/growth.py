"""Does the memory of an extraction grow with the number of rows?

Every size is a process of its own: python -m extracting.growth ROWS FOLDER, run in benchmarks/.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from speed.measure import anonymous_bytes, state, watched

SIZES = (5_000, 50_000, 500_000)
ALLOWED = 60  # bytes a row: its label, its id as text and as bytes, its place in a batch
FOLDER = Path(__file__).resolve().parent.parent  # where `extracting` is found


def growth(work: Path, pairs: int) -> None:
    """Anonymous memory of three sizes, features of 256 numbers. pairs: not used, memory does not vary."""
    highest = {}
    for rows in SIZES:
        command = [sys.executable, "-m", "extracting.growth", str(rows), str(work / str(rows))]
        found = json.loads(subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True).stdout)
        highest[rows] = found["highest"] - found["base"]
        print(f"  {rows:>8,} rows: {highest[rows] / 1e6:.1f} MB above the start")
    slope = (highest[SIZES[-1]] - highest[SIZES[0]]) / (SIZES[-1] - SIZES[0])
    state(f"memory beyond the start: {slope:.0f} bytes a row; at most {ALLOWED} for label and id", slope <= ALLOWED)


def job(rows: int, cache: Path) -> dict[str, int]:
    """One extraction of rows that are made when they are asked for."""
    import numpy as np
    import torch
    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from featurecache import extract

    class Made(Dataset[tuple[Tensor, int]]):
        labels = np.arange(rows) % 10

        def __len__(self) -> int:
            return rows

        def __getitem__(self, row: int) -> tuple[Tensor, int]:
            return torch.full((64,), float(row % 97)), row % 10

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    data = Made()
    extract(model, {"warm": torch.utils.data.Subset(data, range(1024))}, cache.with_name("warm"), batch_size=256)
    base = anonymous_bytes()
    with watched() as highest:
        extract(model, {"train": data}, cache, batch_size=256)
    return {"base": base, "highest": highest()}


if __name__ == "__main__":
    print(json.dumps(job(int(sys.argv[1]), Path(sys.argv[2]))))
