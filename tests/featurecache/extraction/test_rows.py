"""The rows of a split: draws that depend on the row alone, views, and rows that cannot be read."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from featurecache.extraction.rows import Rows, own_randomness
from featurecache.storage import SAMPLED
from featurecache.unreadable import Unreadable


class Drawing(Dataset[Any]):
    """A data set that draws from every generator there is; some items cannot be read."""

    def __init__(self, items: int = 9, bad: tuple[int, ...] = ()) -> None:
        self._items, self._bad = items, bad

    def __len__(self) -> int:
        return self._items

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        if row in self._bad:
            raise Unreadable(f"item {row} is broken")
        drawn = [row, random.random(), np.random.rand(), float(torch.rand(()))]  # noqa: NPY002
        return torch.tensor(drawn, dtype=torch.float64), row % 3


def states() -> tuple[Any, ...]:
    """Where the caller's generators are."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), (kind, np.asarray(keys).tolist(), *rest), torch.get_rng_state().tolist()


def rows_of(data: Dataset[Any], seed: int = 0, **options: Any) -> Rows:
    return Rows("train", data, seed, **options)


@given(st.permutations(range(9)), st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1))
def test_a_row_draws_the_same_in_any_order(order: list[int], seed: int, caller: int) -> None:
    rows = rows_of(Drawing(), seed)
    with own_randomness():
        first = [rows[row][0] for row in range(9)]
        for generator in (random.seed, np.random.seed, torch.manual_seed):
            generator(caller)
        assert all(torch.equal(rows[row][0], first[row]) for row in order)


def test_every_row_view_and_seed_draws_differently() -> None:
    with own_randomness():
        drawn = torch.stack([rows_of(Drawing(), seed, views=2)[row][0][1:] for seed in range(20) for row in range(18)])
    for generator in drawn.T:
        assert len(set(generator.tolist())) == len(drawn)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # how torch starts its workers
def test_a_worker_draws_the_same() -> None:
    rows = rows_of(Drawing(), 3)
    batches = [[0, 1, 2, 3], [4, 5, 6, 7, 8]]

    def read(workers: int) -> Tensor:
        loader = DataLoader(rows, batch_sampler=batches, num_workers=workers, collate_fn=rows.collate)
        return torch.cat([batch.inputs for batch in loader])

    here, there = read(0), read(2)
    assert torch.equal(here, there)


@pytest.mark.parametrize("error", [False, True])
def test_the_callers_generators_are_left_alone(error: bool) -> None:
    def draw() -> None:
        with own_randomness():
            rows_of(Drawing(), 1)[5]
            if error:
                raise KeyboardInterrupt

    before = copy.deepcopy(states())
    if error:
        with pytest.raises(KeyboardInterrupt):
            draw()
    else:
        draw()
    assert states() == before


@given(st.integers(1, 12), st.integers(1, 4))
def test_views_are_passes_one_after_the_other(items: int, views: int) -> None:
    rows = rows_of(Drawing(items), views=views)
    assert len(rows) == items * views
    with own_randomness():
        assert [int(rows[row][0][0]) for row in range(len(rows))] == list(range(items)) * views
    names = rows.ids(range(len(rows))).tolist()
    assert names == [str(item).encode() for item in range(items)] * views


def test_one_view_is_what_the_data_set_gives_without_views() -> None:
    with own_randomness():
        one, two = (rows_of(Drawing(), 5, views=views)[4][0] for views in (1, 2))
    assert torch.equal(one, two)


def test_what_cannot_be_read_stops_unless_it_is_to_be_passed_over() -> None:
    strict, lenient = rows_of(Drawing(bad=(4,))), rows_of(Drawing(bad=(4,)), skip=True)
    with own_randomness():
        bad, good = strict.collate([strict[3], strict[4]]), strict.collate([strict[3]])
    with pytest.raises(Unreadable, match="item 4 is broken"):
        strict.check(bad)
    assert strict.check(good) is good
    assert lenient.check(bad) is bad


def test_another_error_stops_in_any_case() -> None:
    class Broken(Drawing):
        def __getitem__(self, row: int) -> Any:
            raise ZeroDivisionError

    with own_randomness(), pytest.raises(ZeroDivisionError):
        rows_of(Broken(), skip=True)[0]


@pytest.mark.parametrize("bad", [(0,), (3,), (1, 2), (0, 1, 2)])
def test_a_batch_keeps_its_shape_around_rows_that_cannot_be_read(bad: tuple[int, ...]) -> None:
    whole, rows = rows_of(Drawing(4)), rows_of(Drawing(4, bad), skip=True)
    with own_randomness():
        batch = rows.collate([rows[i] for i in range(4)])
        expected = whole.collate([whole[i] for i in range(4)])
    good = [i for i in range(4) if i not in bad]
    assert len(batch) == 4
    assert batch.unreadable.tolist() == [i in bad for i in range(4)]
    assert batch.reasons == tuple(f"item {i} is broken" for i in bad)
    assert batch.inputs.shape == expected.inputs.shape
    assert torch.equal(batch.inputs[good], expected.inputs[good])
    assert batch.labels.tolist() == [-1 if i in bad else i % 3 for i in range(4)]


def test_a_batch_of_nothing_that_can_be_read_has_no_input() -> None:
    rows = rows_of(Drawing(2, (0, 1)), skip=True)
    with own_randomness():
        batch = rows.collate([rows[0], rows[1]])
    assert batch.inputs is None
    assert (batch.labels.tolist(), batch.unreadable.tolist()) == ([-1, -1], [True, True])


def test_the_data_sets_own_collate_is_used() -> None:
    class Texts(Dataset[Any]):
        sample_ids = ("a", "b")
        labels = (0, 1)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, row: int) -> tuple[str, int]:
            return "x" * (row + 1), row

        def collate(self, items: list[tuple[str, int]]) -> tuple[dict[str, Tensor], list[int]]:
            return {"length": torch.tensor([len(text) for text, _ in items])}, [label for _, label in items]

    rows = rows_of(Texts())
    batch = rows.collate([rows[0], rows[1]])
    assert batch.inputs["length"].tolist() == [1, 2]
    assert batch.labels.tolist() == [0, 1]


def test_a_data_set_is_known_by_what_it_says_or_by_some_items() -> None:
    data: Any = Drawing()
    sampled = rows_of(data).digest()
    assert sampled.startswith(SAMPLED)
    assert rows_of(Drawing()).digest() == sampled
    assert rows_of(Drawing(10)).digest() != sampled
    data.labels = [row % 3 for row in range(9)]
    said = rows_of(data).digest()
    assert not said.startswith(SAMPLED)
    assert rows_of(data, views=3).digest() == said  # the plan says how many views
    data.labels = [0] * 9
    assert rows_of(data).digest() != said


def test_what_does_not_fit_is_refused(refused: Any) -> None:
    data: Any = Drawing(3)
    with refused("train", "no rows"):
        rows_of(Drawing(0))
    with refused("train", "0 views"):
        rows_of(data, views=0)
    data.labels = [0, 1]
    with refused("train", "3 rows", "2 labels"):
        rows_of(data)
    data.labels, data.sample_ids = [0, 1, 1], ["a"]
    with refused("3 rows", "1 sample_ids"):
        rows_of(data)


def test_how_views_differ_is_said_by_the_transform() -> None:
    class Crop:
        def describe(self) -> str:
            return "random crop"

    data: Any = Drawing()
    assert rows_of(data).augmentation is None
    assert rows_of(data, views=2).augmentation == "of the data set"
    data.transform = Crop()
    assert rows_of(data, views=2).augmentation == "random crop"
