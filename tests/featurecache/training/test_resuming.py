"""A training that was stopped ends in the bits of one that was not."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, RandomSampler

from featurecache.training import TrainingRun, train
from featurecache.training.state import read_state

ROWS, EPOCHS = 20, 4
LABELS = torch.arange(ROWS) % 3


class Noisy(Dataset[tuple[Tensor, int]]):
    """Rows that are augmented with draws from all three generators; `breaks_at` stops at that reading."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.inputs = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0))
        self.breaks_at, self.reads = breaks_at, 0

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        self.reads += 1
        if self.reads == self.breaks_at:
            raise KeyboardInterrupt
        noise = float(torch.rand(())) + random.random() + float(np.random.random())  # noqa: NPY002
        return self.inputs[row] + 0.1 * noise, int(LABELS[row])


class Cycling:
    """A sampler that remembers where it stands; `epochs` is what it was told."""

    def __init__(self) -> None:
        self.place, self.epochs = 0, list[int]()

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __len__(self) -> int:
        return ROWS

    def __iter__(self) -> Any:
        start, self.place = self.place, (self.place + 7) % ROWS
        return iter([(start + 3 * i) % ROWS for i in range(ROWS)])

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def trained(model: nn.Module, data: Noisy, **options: Any) -> TrainingRun:
    common = {"loss": cross_entropy, "epochs": EPOCHS, "batch_size": 6, "lr": 0.1, "seed": 3, "sampler": Cycling()}
    return train(model, data, **{**common, **options})


def without_times(run: TrainingRun) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "rows_per_second")} for line in run.history]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sampler": RandomSampler(range(ROWS))},
        {"optimiser": "adamw", "mixup": 0.3, "ema": 0.9},
        {"val": Noisy(), "score": accuracy, "ema": 0.8, "amp": "bf16"},
        {"parts": ("4",), "val": Noisy(), "score": accuracy},
    ],
    ids=["plain", "torch's sampler", "adamw, mixup, ema", "judged, bf16", "classifier only"],
)
@pytest.mark.parametrize("epochs_done", [0, 1, 3])
def test_it_goes_on_as_if_it_had_not_stopped(
    options: dict[str, Any], epochs_done: int, tmp_path: Path, small: Callable[[], nn.Module], equal: Any
) -> None:
    whole = small()
    expected = trained(whole, Noisy(), **options)
    state = tmp_path / "x.training"
    judged = ROWS if "val" in options and options["val"].reads >= 0 else 0
    stop = 20 * epochs_done + 10  # three batches of six rows and one of two
    assert judged in (0, ROWS)
    own = {**options, "sampler": options.get("sampler") or Cycling()}
    with pytest.raises(KeyboardInterrupt):
        trained(small(), Noisy(stop), **own, state=state, log=tmp_path / "x.log")
    assert state.exists() == (epochs_done > 0)
    torch.manual_seed(99)
    model = small()
    nn.init.zeros_(next(model.parameters()))  # the weights come from the state, where there is one
    again = small() if not epochs_done else model
    own = {**options, "sampler": options.get("sampler") or Cycling()}
    run = trained(again, Noisy(), **own, state=state, log=tmp_path / "x.log")
    assert equal(again, whole)
    assert without_times(run) == without_times(expected)
    assert (run.best_epoch, run.best_score, run.steps) == (expected.best_epoch, expected.best_score, expected.steps)
    assert len((tmp_path / "x.log.jsonl").read_text().splitlines()) == EPOCHS


def test_workers_do_not_change_that(tmp_path: Path, small: Callable[[], nn.Module], equal: Any) -> None:
    whole, again = small(), small()
    trained(whole, Noisy(), epochs=2, workers=2)
    stopped = iter(range(100))

    def stop(_done: int, _of: int, _text: str) -> None:
        if next(stopped) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(small(), Noisy(), epochs=2, workers=2, state=tmp_path / "x", progress=stop)
    assert len(read_state(tmp_path / "x")["history"]) == 1
    trained(again, Noisy(), epochs=2, workers=2, state=tmp_path / "x")
    assert equal(again, whole)


def test_a_finished_one_is_told_again_without_training(
    tmp_path: Path, small: Callable[[], nn.Module], equal: Any
) -> None:
    options = {"val": Noisy(), "score": accuracy, "state": tmp_path / "x"}
    first, second, data = small(), small(), Noisy()
    expected = trained(first, Noisy(), **options)
    run = trained(second, data, **options)
    assert run == expected
    assert equal(first, second)
    assert data.reads == 0


def test_only_epochs_that_are_left_are_announced(tmp_path: Path, small: Callable[[], nn.Module]) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(small(), Noisy(50), state=tmp_path / "x")
    sampler = Cycling()
    trained(small(), Noisy(), state=tmp_path / "x", sampler=sampler)
    assert sampler.epochs == [2, 3]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lr": 0.2}, "'lr' was 0.1, now it is 0.2"),
        ({"epochs": 5}, "'epochs' was 4, now it is 5"),
        ({"seed": 4}, "'seed' was 3, now it is 4"),
        ({"parts": ("4",)}, "'parts' was None, now it is ['4']"),
        ({"run": {"arch": "b"}}, "'arch' was 'a', now it is 'b'"),
        ({"sampler": range(12)}, "'rows' was 20, now it is 12"),
    ],
)
def test_another_training_is_refused(
    change: dict[str, Any], says: str, tmp_path: Path, small: Callable[[], nn.Module], refused: Any
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(small(), Noisy(30), state=tmp_path / "x", run={"arch": "a"})
    with refused("is of another training", says):
        trained(small(), Noisy(), state=tmp_path / "x", **{"run": {"arch": "a"}, **change})


def test_a_state_of_another_model_is_refused(tmp_path: Path, small: Callable[[], nn.Module], refused: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(small(), Noisy(30), state=tmp_path / "x")
    with refused("does not fit this training", "remove it to begin anew"):
        trained(nn.Linear(4, 3), Noisy(), state=tmp_path / "x")
