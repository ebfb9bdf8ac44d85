"""The four samplers of Kang et al. (2020, section 3.2): which rows a training epoch visits, in which order.

Class j is drawn with probability ``p_j = n_j^q / sum_i n_i^q``: q = 1 instance-balanced, q = 0 class-balanced,
q = 1/2 square-root; progressively-balanced goes from q = 1 to q = 0 in a straight line over the epochs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from rebalance.blocks import Labels, as_labels

Order = NDArray[np.int64]

ROWS_A_VISIT = 4  # the reference's num_samples_cls: consecutive rows of the class that is visited


class _Cycle:
    """Endless passes over a list, each in a new random order (a permutation cycle, not independent draws)."""

    def __init__(self, items: Order, rng: np.random.Generator) -> None:
        self._items, self._rng, self._left = items, rng, items[:0]

    @property
    def left(self) -> Order:
        """What is left of this pass."""
        return self._left

    def go_on(self, left: Order) -> None:
        """Go on with these. Raises ValueError for items that are not of the list."""
        if len(left) > len(self._items) or not np.isin(left, self._items).all():
            raise ValueError("the sampler's state is of other rows")
        self._left = left

    def take(self, count: int) -> Order:
        """The next items; a list shorter than count repeats."""
        parts = []
        while count > 0:
            if not len(self._left):
                self._left = self._rng.permutation(self._items)
            parts.append(self._left[:count])
            self._left = self._left[count:]
            count -= len(parts[-1])
        return np.concatenate(parts)


class EpochSampler(Sampler[int]):
    """Row indices of one epoch after another; an epoch is as long as the number of labelled rows.

    draw: ``draw(epoch) -> (N,)`` row indices.
    rows: N.
    rng, cycles: what the draws go on from.
    """

    def __init__(
        self, draw: Callable[[int], Order], rows: int, rng: np.random.Generator, cycles: Sequence[_Cycle] = ()
    ) -> None:
        self._draw = draw
        self._rows = rows
        self._rng, self._cycles = rng, cycles
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is (0-based); only progressively-balanced sampling asks."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """What the next epoch's draws depend on, as text and tensors; a sampler of the same labels can go on from it.

        rng: the generator's state as JSON. lengths, left: how many items are left of each cycle's pass, and which.
        """
        left = [cycle.left for cycle in self._cycles]
        return {
            "rng": json.dumps(self._rng.bit_generator.state),
            "lengths": torch.tensor([len(items) for items in left], dtype=torch.int64),
            "left": torch.from_numpy(np.concatenate([np.empty(0, np.int64), *left])),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned. Raises ValueError when it is of other labels or another sampler."""
        lengths, left = state["lengths"].tolist(), state["left"].numpy()
        if len(lengths) != len(self._cycles) or sum(lengths) != len(left):
            raise ValueError("the sampler's state is of another sampler or of other classes")
        ends = np.cumsum([0, *lengths])
        for cycle, begin, end in zip(self._cycles, ends, ends[1:], strict=False):
            cycle.go_on(left[begin:end].astype(np.int64))
        self._rng.bit_generator.state = json.loads(state["rng"])

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        return iter(self._draw(self.epoch).tolist())


def instance_balanced(labels: Labels, *, epochs: int, seed: int = 0) -> EpochSampler:
    """Every row once an epoch, shuffled: p_j = n_j / N."""
    rows, _ = _rows_by_class(labels)
    rng = np.random.default_rng(seed)
    return EpochSampler(lambda _epoch: rng.permutation(rows), len(rows), rng)


def class_balanced(labels: Labels, *, epochs: int, seed: int = 0) -> EpochSampler:
    """Every class equally often: p_j = 1 / C.

    As the reference's ClassAwareSampler: classes in a permutation cycle, 4 consecutive rows of each from that class's
    own permutation cycle; both cycles go on across epochs. An epoch here is N rows, as its training loop cuts it.
    """
    rows, members = _rows_by_class(labels)
    rng = np.random.default_rng(seed)
    classes = _Cycle(np.arange(len(members)), rng)
    cycles = [_Cycle(member, rng) for member in members]

    def draw(_epoch: int) -> Order:
        visits = classes.take(-(-len(rows) // ROWS_A_VISIT))
        return np.concatenate([cycles[c].take(ROWS_A_VISIT) for c in visits])[: len(rows)]

    return EpochSampler(draw, len(rows), rng, [classes, *cycles])


def square_root(labels: Labels, *, epochs: int, seed: int = 0) -> EpochSampler:
    """p_j proportional to sqrt(n_j): rows drawn with replacement, each with weight sqrt(n_j) / n_j."""
    rows, members = _rows_by_class(labels)
    rng = np.random.default_rng(seed)
    weights = np.concatenate([np.full(len(member), len(member) ** -0.5) for member in members])
    order = np.concatenate(members)
    weights /= weights.sum()
    return EpochSampler(lambda _epoch: rng.choice(order, size=len(rows), p=weights), len(rows), rng)


def progressively_balanced(labels: Labels, *, epochs: int, seed: int = 0) -> EpochSampler:
    """p_j(t) = (1 - t) n_j / N + t / C, with t = epoch / (epochs - 1): first epoch instance-, last class-balanced.

    A class is drawn, then the next row of that class's permutation cycle, as the reference does.
    """
    rows, members = _rows_by_class(labels)
    rng = np.random.default_rng(seed)
    cycles = [_Cycle(member, rng) for member in members]
    sizes = np.array([len(member) for member in members], dtype=np.float64)

    def draw(epoch: int) -> Order:
        t = min(epoch / (epochs - 1), 1.0) if epochs > 1 else 0.0
        chances = (1 - t) * sizes / sizes.sum() + t / len(sizes)
        drawn = rng.choice(len(sizes), size=len(rows), p=chances / chances.sum())
        out = np.empty(len(rows), dtype=np.int64)
        for c in np.unique(drawn):
            places = np.flatnonzero(drawn == c)
            out[places] = cycles[c].take(len(places))
        return out

    return EpochSampler(draw, len(rows), rng, cycles)


SAMPLERS: dict[str, Callable[..., EpochSampler]] = {
    "instance": instance_balanced,
    "class": class_balanced,
    "sqrt": square_root,
    "progressive": progressively_balanced,
}


def _rows_by_class(labels: Labels) -> tuple[Order, list[Order]]:
    """All labelled rows, and those of every class that has any."""
    values = as_labels(labels).cpu().numpy()
    rows = np.flatnonzero(values >= 0)
    if not len(rows):
        raise ValueError("no row has a label; expected at least one to sample from")
    classes = np.unique(values[rows])
    return rows, [np.flatnonzero(values == c) for c in classes]
