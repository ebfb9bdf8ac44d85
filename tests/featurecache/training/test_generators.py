"""The random generators of a process."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache.training.generators import mixed, restore, seed_all, seeded, states

CPU = torch.device("cpu")


def drawn() -> tuple[list[float], list[float], list[float]]:
    normal = [random.gauss(0, 1) for _ in range(3)]  # the second of a pair is kept for the next call
    return torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), normal  # noqa: NPY002


def test_within_it_everything_follows_the_seed_and_outside_nothing_changes() -> None:
    drawn()
    before = drawn_next()
    with seeded(3, CPU):
        first = drawn()
    with seeded(3, CPU):
        assert drawn() == first
    with seeded(4, CPU):
        other = drawn()
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert drawn() == before


def drawn_next() -> tuple[list[float], list[float], list[float]]:
    """What `drawn` will give, without drawing it."""
    found = states(CPU)
    values = drawn()
    restore(found, CPU)
    return values


def test_an_error_restores_them_too() -> None:
    before = drawn_next()
    with pytest.raises(ZeroDivisionError), seeded(0, CPU):
        raise ZeroDivisionError
    assert drawn() == before


@given(st.integers(0, 2**40), st.integers(0, 7))
def test_states_go_on_where_they_were_written(seed: int, steps: int) -> None:
    with seeded(seed, CPU):
        for _ in range(steps):
            drawn()
        found = states(CPU)
        expected = drawn()
        seed_all(0)
        restore(found, CPU)
        assert drawn() == expected


def test_states_are_plain(tmp_path: Any) -> None:
    torch.save(states(CPU), tmp_path / "x.pt")
    expected = drawn_next()
    restore(torch.load(tmp_path / "x.pt", weights_only=True), CPU)
    assert drawn() == expected


def test_a_strange_state_changes_nothing() -> None:
    before = drawn_next()
    for change in ({"numpy": [torch.zeros(3), 0, 0, 0.0]}, {"python": [3, torch.zeros(2), None]}):
        with pytest.raises(ValueError, match="another length"):
            restore({**states(CPU), **change}, CPU)
    assert drawn() == before


@given(st.lists(st.integers(0, 50), min_size=1, max_size=3), st.lists(st.integers(0, 50), min_size=1, max_size=3))
def test_seeds_of_different_numbers_differ(a: list[int], b: list[int]) -> None:
    assert 0 <= mixed(*a) < 2**63
    if len(a) == len(b):
        assert (mixed(*a) == mixed(*b)) == (a == b)
