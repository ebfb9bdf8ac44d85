"""Batches, read here or in workers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from featurecache.training.loading import Loading, rows_in
from featurecache.training.schedule import Batches

CPU = torch.device("cpu")


class Noisy(Dataset[tuple[torch.Tensor, int]]):
    """Rows whose inputs are drawn at random from all three generators."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        numbers = [random.random(), float(np.random.random())]  # noqa: NPY002
        return torch.cat([torch.rand(1).double(), torch.tensor(numbers).double()]), row


def read(workers: int, epochs: list[int], seed: int = 0) -> list[torch.Tensor]:
    loading = Loading(Noisy(), Batches(range(12), 4), CPU, workers, seed)
    assert len(loading) == 3
    out = []
    for epoch in epochs:
        inputs, labels = zip(*loading.epoch(epoch), strict=True)
        assert torch.cat(labels).tolist() == list(range(12))
        out.append(torch.cat(inputs))
    return out


def test_what_workers_draw_depends_on_the_epoch_only() -> None:
    """So that a run that goes on at the third epoch draws what it would have drawn."""
    first, second, third = read(2, [0, 1, 2])
    assert torch.equal(read(2, [2])[0], third)
    assert not torch.equal(first, second)
    assert not torch.equal(read(2, [0], seed=1)[0], first)
    assert len(torch.unique(first)) == first.numel()  # the workers draw differently


def test_without_workers_it_draws_from_this_process(rows: TensorDataset) -> None:
    torch.manual_seed(0)
    expected = torch.stack([torch.rand(1).double() for _ in range(12)])
    torch.manual_seed(0)
    assert torch.equal(read(0, [5])[0][:, :1], expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_data_may_say_how_a_batch_is_made(workers: int) -> None:
    loading = Loading(Words(), Batches(range(4), 2), CPU, workers, 0)
    assert [inputs for inputs, _ in loading.epoch(0)] == ["ab", "cd"]


class Words(Dataset[tuple[Any, int]]):
    """Letters that are joined."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return "abcd"[row], row

    def collate(self, items: list[Any]) -> tuple[str, torch.Tensor]:
        return "".join(x for x, _ in items), torch.tensor([y for _, y in items])


def test_rows_are_counted(refused: Any) -> None:
    assert rows_in(Words(), "validation data", 4) == 4
    with refused("the validation data have no rows; expected at least one"):
        rows_in(TensorDataset(torch.zeros(0, 4)), "validation data")  # type: ignore[arg-type]
    with refused("have 4 rows; expected at least 5"):
        rows_in(Words(), "validation data", 5)
