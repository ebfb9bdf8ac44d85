"""The last bits: threads that come back, draws that depend on the row alone, generators that are left alone."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from featurecache.extraction.surroundings import SeededRows, own_randomness, same_threads, surroundings


class Drawing(Dataset[Tensor]):
    """A data set that draws from every generator there is."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, row: int) -> Tensor:
        return torch.tensor([row, random.random(), np.random.rand(), float(torch.rand(()))], dtype=torch.float64)  # noqa: NPY002


def states() -> tuple[Any, ...]:
    """Where the caller's generators are."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), (kind, np.asarray(keys).tolist(), *rest), torch.get_rng_state().tolist()


def test_the_surroundings_are_plain_json() -> None:
    found = surroundings(torch.device("cpu"), 7)
    assert (found["device"], found["threads"], found["seed"]) == ("cpu", torch.get_num_threads(), 7)
    assert {name: importlib.metadata.version(name) for name in found["versions"]} == found["versions"]
    assert {"torch", "numpy"} <= set(found["versions"])
    assert json.loads(json.dumps(found)) == found
    assert surroundings(torch.device("cpu"), 7) == found


@pytest.mark.cuda
def test_a_gpu_is_called_by_its_name() -> None:
    assert surroundings(torch.device("cuda"), 0)["device"] == torch.cuda.get_device_name()


def test_threads_are_those_of_the_extraction_and_come_back() -> None:
    before = torch.get_num_threads()
    with same_threads({"threads": before + 1}):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), same_threads({"threads": before + 2}):
        _ = 1 / 0
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [None, 0, -1, "2", 2.0, True, 10**9, [2]])
def test_threads_that_are_none_are_not_believed(threads: Any) -> None:
    before = torch.get_num_threads()
    with same_threads({"threads": threads}):
        assert torch.get_num_threads() == before
    with same_threads(None):
        assert torch.get_num_threads() == before


@given(st.permutations(range(9)), st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1))
def test_a_row_draws_the_same_in_any_order(order: list[int], seed: int, caller: int) -> None:
    rows = SeededRows(Drawing(), seed)
    with own_randomness():
        first = [rows[row] for row in range(9)]
        for generator in (random.seed, np.random.seed, torch.manual_seed):
            generator(caller)
        assert all(torch.equal(rows[row], first[row]) for row in order)


def test_every_row_and_seed_draws_differently() -> None:
    drawn = torch.stack([SeededRows(Drawing(), seed)[row][1:] for seed in range(20) for row in range(9)])
    for generator in drawn.T:
        assert len(set(generator.tolist())) == len(drawn)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # how torch starts its workers
def test_a_worker_draws_the_same() -> None:
    rows = SeededRows(Drawing(), 3)
    batches = [range(4), range(4, 9)]
    here, there = (
        torch.cat(list(DataLoader(rows, batch_sampler=batches, num_workers=workers)))  # type: ignore[arg-type]
        for workers in (0, 2)
    )
    assert torch.equal(here, there)


@pytest.mark.parametrize("error", [False, True])
def test_the_callers_generators_are_left_alone(error: bool) -> None:
    def draw() -> None:
        with own_randomness():
            SeededRows(Drawing(), 1)[5]
            if error:
                raise KeyboardInterrupt

    before = copy.deepcopy(states())
    if error:
        with pytest.raises(KeyboardInterrupt):
            draw()
    else:
        draw()
    assert states() == before
