"""The four samplers draw as the paper says: p_j = n_j^q / sum n_i^q."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance.sampling import (
    SAMPLERS,
    EpochSampler,
    class_balanced,
    instance_balanced,
    progressively_balanced,
    square_root,
)

COUNTS = np.array([400, 100, 25, 4, 1])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
EPOCHS = 9
ROWS_A_VISIT = 4  # as the reference does

every_sampler = pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS.keys())


def epochs_of(sampler: EpochSampler, epochs: int) -> list[list[int]]:
    out = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        out.append(list(sampler))
    return out


def class_draws(rows: list[int]) -> np.ndarray[Any, Any]:
    return np.bincount(LABELS[rows], minlength=len(COUNTS))


def assert_drawn_with(chances: np.ndarray[Any, Any], draws: np.ndarray[Any, Any]) -> None:
    """Draws within five standard deviations of their binomial expectation: seeded, and fair in 1 of 300,000 runs."""
    total = draws.sum()
    assert (np.abs(draws - total * chances) <= 5 * np.sqrt(total * chances * (1 - chances)) + 1e-9).all()


@every_sampler
def test_an_epoch_is_as_long_as_the_labelled_rows(make: Callable[..., EpochSampler]) -> None:
    labels = np.where(np.arange(len(LABELS)) % 3 == 0, -1, LABELS)
    sampler = make(labels, epochs=EPOCHS)
    assert len(sampler) == int((labels >= 0).sum())
    for rows in epochs_of(sampler, 3):
        assert len(rows) == len(sampler)
        assert (labels[rows] >= 0).all()


@every_sampler
def test_the_seed_decides(make: Callable[..., EpochSampler]) -> None:
    first, again, other = (epochs_of(make(LABELS, epochs=EPOCHS, seed=seed), 3) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert first[0] != first[1]


@every_sampler
def test_rows_are_plain_integers_from_any_labels(make: Callable[..., EpochSampler], slice_only: Any) -> None:
    expected = list(make(LABELS, epochs=EPOCHS))
    assert all(type(row) is int for row in expected)
    for labels in (torch.from_numpy(LABELS), LABELS.astype(np.int16), LABELS.tolist()):
        assert list(make(labels, epochs=EPOCHS)) == expected
    loader = torch.utils.data.DataLoader(LABELS, batch_size=50, sampler=make(LABELS, epochs=EPOCHS))
    assert torch.cat(list(loader)).tolist() == LABELS[expected].tolist()


@every_sampler
def test_without_labels_there_is_nothing_to_draw(make: Callable[..., EpochSampler], refuses: Any) -> None:
    with refuses("no row has a label"):
        make([-1, -1], epochs=EPOCHS)


def test_instance_balanced_visits_every_row_once() -> None:
    for rows in epochs_of(instance_balanced(LABELS, epochs=EPOCHS), 3):
        assert sorted(rows) == list(range(len(LABELS)))


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=60).filter(lambda each: max(each) >= 0), st.integers(0, 9))
def test_class_balanced_visits_are_a_permutation_cycle(labels: list[int], seed: int) -> None:
    """Whole epochs on end: four rows of one class a visit, and over any prefix the visits differ by at most one."""
    known = np.array(labels)
    # An epoch is cut at N rows; labels in multiples of four are not cut inside a visit.
    tiled = np.repeat(known, ROWS_A_VISIT)
    sampler = class_balanced(tiled, epochs=3, seed=seed)
    rows = np.concatenate(epochs_of(sampler, 3))
    visits = tiled[rows].reshape(-1, ROWS_A_VISIT)
    assert (visits == visits[:, :1]).all()
    classes = np.unique(known[known >= 0])
    seen = np.cumsum(visits[:, :1] == classes[None, :], axis=0)
    assert (np.ptp(seen, axis=1) <= 1).all()


def test_class_balanced_rows_of_a_class_are_a_permutation_cycle() -> None:
    """Before a row of a class comes again, all others of its class have come."""
    rows = np.concatenate(epochs_of(class_balanced(LABELS, epochs=EPOCHS), 4))
    rows = rows[: len(LABELS) // ROWS_A_VISIT * ROWS_A_VISIT]  # the first epoch's last visit is cut
    for k in range(len(COUNTS)):
        times = np.bincount(rows[LABELS[rows] == k], minlength=len(LABELS))[k == LABELS]
        assert np.ptp(times) <= 1


def test_class_balanced_gives_every_class_its_share_of_an_epoch() -> None:
    for rows in epochs_of(class_balanced(LABELS, epochs=EPOCHS), 4):
        # The cycle may stand anywhere when an epoch begins and ends: one visit of four rows more or less at either.
        assert np.ptp(class_draws(rows)) <= 2 * ROWS_A_VISIT


def test_square_root_draws_classes_by_the_root_of_their_size() -> None:
    sampler = square_root(LABELS, epochs=EPOCHS)
    draws = sum(class_draws(rows) for rows in epochs_of(sampler, 20))
    chances = np.sqrt(COUNTS) / np.sqrt(COUNTS).sum()
    assert_drawn_with(chances, np.asarray(draws))


def test_square_root_draws_rows_of_a_class_alike() -> None:
    rows = np.concatenate(epochs_of(square_root(LABELS, epochs=EPOCHS), 40))
    times = np.bincount(rows, minlength=len(LABELS))[LABELS == 1]
    assert_drawn_with(np.full(100, 0.01), times)


def test_progressive_goes_from_instance_to_class_balanced() -> None:
    sampler = progressively_balanced(LABELS, epochs=EPOCHS)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        draws = np.asarray(sum(class_draws(list(sampler)) for _ in range(10)))
        t = epoch / (EPOCHS - 1)
        assert_drawn_with((1 - t) * COUNTS / COUNTS.sum() + t / len(COUNTS), draws)


def test_progressive_rows_of_a_class_are_a_permutation_cycle() -> None:
    rows = np.concatenate(epochs_of(progressively_balanced(LABELS, epochs=EPOCHS), EPOCHS))
    for k in range(len(COUNTS)):
        times = np.bincount(rows[LABELS[rows] == k], minlength=len(LABELS))[k == LABELS]
        assert np.ptp(times) <= 1


def test_progressive_of_one_epoch_is_instance_balanced() -> None:
    sampler = progressively_balanced(LABELS, epochs=1)
    draws = np.asarray(sum(class_draws(list(sampler)) for _ in range(10)))
    assert_drawn_with(COUNTS / COUNTS.sum(), draws)


@every_sampler
@pytest.mark.parametrize("stopped", [0, 1, 3])
def test_a_sampler_goes_on_from_its_state(make: Callable[..., EpochSampler], stopped: int) -> None:
    whole, first, second = (make(LABELS, epochs=EPOCHS, seed=5) for _ in range(3))
    expected = epochs_of(whole, 5)
    epochs_of(first, stopped)
    state = first.state_dict()
    list(second)
    second.load_state_dict(state)
    for epoch in range(stopped, 5):
        second.set_epoch(epoch)
        assert list(second) == expected[epoch]


@every_sampler
def test_a_state_is_plain(make: Callable[..., EpochSampler], tmp_path: Path) -> None:
    sampler = make(LABELS, epochs=EPOCHS)
    list(sampler)
    torch.save(sampler.state_dict(), tmp_path / "state.pt")
    sampler.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))


@pytest.mark.parametrize("make", [class_balanced, progressively_balanced])
def test_a_state_of_other_labels_is_refused(make: Callable[..., EpochSampler], refuses: Any) -> None:
    sampler = make(LABELS, epochs=EPOCHS)
    list(sampler)
    with refuses("of other rows"):
        make(np.sort(LABELS), epochs=EPOCHS).load_state_dict(sampler.state_dict())
    with refuses("of another sampler or of other classes"):
        make(LABELS[LABELS > 0], epochs=EPOCHS).load_state_dict(sampler.state_dict())
    with refuses("of another sampler"):
        square_root(LABELS, epochs=EPOCHS).load_state_dict(sampler.state_dict())
