"""The batch that trial forwards are fastest with, and the one that is recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from featurecache.extraction import batch_size
from featurecache.extraction.batch_size import fastest, recorded
from featurecache.extraction.computing import Computing
from featurecache.extraction.forward import Forward
from featurecache.plan import CachePlan, SplitPlan


class Timed(nn.Module):
    """A model that takes a given time for a batch, on a clock that only it moves."""

    def __init__(self, seconds: Callable[[int], float], full_at: int = 10**9) -> None:
        super().__init__()
        self.now, self.tried = 0.0, set[int]()
        self._seconds, self._full_at = seconds, full_at

    def forward(self, x: Tensor) -> Tensor:
        if len(x) >= self._full_at:
            raise torch.OutOfMemoryError("out of memory")
        self.tried.add(len(x))
        self.now += self._seconds(len(x))
        return x


def chosen(model: Timed, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(batch_size.time, "perf_counter", lambda: model.now)
    forward = Forward(model, None, Computing(torch.device("cpu")))
    with forward.ready():
        return fastest(forward, torch.zeros(3, 2), 3)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (lambda rows: 1e-3 * rows, 1),  # every size is as fast
        (lambda rows: 1e-3 * rows + 0.1, 128),  # the larger the better: the largest
        (
            lambda rows: 1e-3 * rows * (1 if rows <= 8 else 3) + 1e-3,
            8,
        ),  # slower beyond some size
        (lambda rows: 1e-3 * rows + 3e-3, 64),  # 95 % of the best speed is enough
    ],
)
def test_the_smallest_batch_that_is_nearly_as_fast_as_any(
    seconds: Callable[[int], float], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(Timed(seconds), monkeypatch) == expected


def test_no_batch_is_tried_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed(lambda rows: 0.5 * rows + 1)
    assert chosen(model, monkeypatch) == 4
    assert model.tried == {1, 2, 4}


def test_half_of_what_fits_is_taken_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(Timed(lambda rows: 0.1, full_at=32), monkeypatch) == 8
    assert chosen(Timed(lambda rows: 0.1, full_at=2), monkeypatch) == 1
    assert chosen(Timed(lambda rows: 0.1, full_at=1), monkeypatch) == 1


def test_what_a_cache_records_is_taken(tmp_path: Path) -> None:
    assert recorded(tmp_path, ["train"]) is None
    plan = CachePlan({"head": None, "logits": "none"}, 3)
    plan = plan.with_split("val", SplitPlan(9, 4, (0, 9), False)).with_split("train", SplitPlan(9, 6, (0, 9), True))
    plan.save(tmp_path)
    assert recorded(tmp_path, ["train", "val"]) == 6
    assert recorded(tmp_path, ["val"]) == 4
    assert recorded(tmp_path, ["test"]) == 4  # none of its own: like the others
