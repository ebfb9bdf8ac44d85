"""The plan on paper of benchmarks/scale.py: what it says of the code is counted while the code runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

from featurecache import FeatureCache, extract, write
from rebalance import LinearHead, tune
from rebalance.methods import METHODS

ROOT = Path(__file__).parents[2]
Parts = Callable[[str], Any]
CLASSES, WIDTH = 5, 8


class Counted:
    """Rows that are read in slices or by number, and counted."""

    def __init__(self, rows: Tensor) -> None:
        self._rows, self.shape = rows, tuple(rows.shape)
        self.in_order = self.by_number = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> Any:
        found = self._rows[rows].numpy()
        if isinstance(rows, slice):
            self.in_order += len(found)
        else:
            self.by_number += len(found)
        return found


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("joint", {}),
        ("ncm", {}),
        ("lda", {}),
        ("lws", {}),
        ("crt", {"visits": 2048}),
        ("crt, whole passes", {"tol": 0.1}),
        ("balanced_softmax", {"visits": 2048}),
        ("temperature", {}),
        ("tau_norm, tuned", {}),
        ("logit_adjust, tuned", {"counts": [900, 500, 400, 200, 48]}),
    ],
)
def test_the_plan_counts_what_a_fit_reads_and_adds_up(parts: Parts, task: str, options: dict[str, Any]) -> None:
    line, told = parts("growing.traffic").TRAFFIC[task], []
    rng = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(CLASSES), torch.tensor([900, 500, 400, 200, 48]))
    rows = Counted(torch.randn(CLASSES, WIDTH, generator=rng)[labels] + torch.randn(2048, WIDTH, generator=rng))
    head = LinearHead(torch.randn(CLASSES, WIDTH, generator=rng))

    def total(*tensors: Tensor) -> None:
        told.extend(tensor.numel() * tensor.element_size() for tensor in tensors)

    with (
        patch("rebalance.ranks.total", total),
        patch("rebalance.solving.objective.KEEP", 0),
        patch("rebalance.solving.rescaling.KEEP", 0),
        patch("rebalance.methods.lws.KEEP", 10**6),
        patch("rebalance.methods.lws.MANY", 0),
    ):
        name = task.partition(",")[0]
        if task.endswith("tuned"):
            solver: dict[str, Any] = {}
            tune(name, head, rows, labels, **options)
        else:
            solver = METHODS[name].function(head, rows, labels, **options).record.get("solver", {})
    evaluations = solver.get("passes", 0)
    assert sum(told) == line.reduced(2048, WIDTH, CLASSES, evaluations)
    assert rows.in_order == 2048 * line.passes(evaluations)
    if task not in ("crt", "balanced_softmax"):
        assert line.visits == 0
        assert rows.by_number == (solver["rows"] if task == "lws" else 0)
    else:
        assert rows.by_number >= 2048 * line.visits > 0  # and a sample that gives the rate


def test_a_row_on_paper_has_the_bytes_of_one_on_disk(parts: Parts, tmp_path: Path) -> None:
    paper, setting = parts("growing.paper"), parts("growing.setting")
    ids = [f"{row:0{setting.ID_BYTES}}" for row in range(64)]
    features = np.zeros((64, setting.WIDTH), np.float16)
    write(tmp_path / "a", "train", features, np.zeros(64, np.int64), sample_ids=ids)
    header = FeatureCache(tmp_path / "a")["train"].shards[0].header
    assert sum(column.nbytes for column in header.data.values()) == 64 * paper.row_bytes(logits=False)
    assert paper.row_bytes(logits=True) - paper.row_bytes(logits=False) == 4 * setting.CLASSES
    assert len(header.data) == paper.COLUMNS


def test_the_plan_on_paper_can_be_read_back(parts: Parts) -> None:
    paper, setting = parts("growing.paper"), parts("growing.setting")
    for rows in setting.SIZES:
        ends = paper.bounds(rows)
        assert ends[-1] == rows
        assert (len(ends) - 1) % setting.RANKS == 0
        assert max(np.diff(ends)) * paper.row_bytes(logits=False) <= 2**32
        assert 11 * (len(ends) - 2) < paper.plan_bytes(rows) < 2**16


@pytest.mark.skipif(sys.platform != "linux", reason="open files are looked up in /proc")
def test_a_shard_is_three_open_files_while_written_and_one_while_read(parts: Parts, tmp_path: Path) -> None:
    made, limits, seen = parts("growing.made"), parts("growing.limits"), []

    def count(*_: object) -> None:
        seen.append(len(os.listdir("/proc/self/fd")))

    count()
    with patch("featurecache.plan.SHARD_BYTES", 200 * 64):
        data = made.Made(64 * 30)
        extract(made.model(), {"train": data}, tmp_path / "a", batch_size=64, logits=False, progress=count)
    before = len(os.listdir("/proc/self/fd"))
    train = FeatureCache(tmp_path / "a")["train"]
    shards = len(train.shards)
    assert shards >= 15
    assert max(seen) - seen[0] == pytest.approx(limits.WRITTEN_FILES * shards, abs=2)
    assert len(os.listdir("/proc/self/fd")) - before == shards
