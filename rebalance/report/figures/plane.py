"""A plane through the feature space, and what a head decides on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rebalance.blocks import Features, Labels, as_labels, blocks
from rebalance.head import LinearHead

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
DRAWN = 300  # rows a class
FLAT = 1e-6  # means closer to a line than this, relative to how far they lie apart, span no plane


@dataclass(frozen=True)
class Plane:
    """The plane ``center + u @ basis``. center: (D,). basis: (2, D), orthonormal."""

    center: Floats
    basis: Floats

    @classmethod
    def through(cls, means: Floats, classes: Sequence[int]) -> Plane:
        """The plane through three class means (3, D); the first axis runs from the first mean to the second.

        classes: their ids, for messages. ValueError when the means lie on a line.
        """
        first, second = means[1] - means[0], means[2] - means[0]
        apart = max(float(np.linalg.norm(each)) for each in (first, second, means[2] - means[1]))
        along = first / (np.linalg.norm(first) or 1.0)
        across = second - (second @ along) * along
        across -= (across @ along) * along  # once more: what rounding left
        if min(np.linalg.norm(first), np.linalg.norm(across)) <= FLAT * apart:
            raise ValueError(
                f"the mean features of classes {', '.join(str(k) for k in classes)} lie on a line and span no plane; "
                "choose three other classes"
            )
        return cls(means.mean(axis=0), np.stack([along, across / np.linalg.norm(across)]))

    def project(self, rows: Floats) -> Floats:
        """Where the nearest points of the plane to the rows (N, D) lie on it (N, 2)."""
        return np.asarray((rows - self.center) @ self.basis.T)

    def points(self, places: Floats) -> Floats:
        """The features (N, D) at places (N, 2) of the plane."""
        return np.asarray(self.center + places @ self.basis)


@dataclass(frozen=True)
class Sample:
    """Three classes' mean features (3, D), over all their rows, and some of the rows (N, D) with their class, 0..2."""

    means: Floats
    rows: Floats
    own: Ids


def sample(features: Features, labels: Labels, classes: Sequence[int], limit: int = DRAWN) -> Sample:
    """The means of the classes and up to `limit` rows of each, evenly spread; one pass over the features.

    features: (N, D). labels: (N,). ValueError for a class without rows.
    """
    truth = as_labels(labels).cpu().numpy()
    sums: list[Tensor | float] = [0.0] * len(classes)
    kept: list[list[Tensor]] = [[] for _ in classes]
    members = [np.flatnonzero(truth == k) for k in classes]
    for k, rows in zip(classes, members, strict=True):
        if not len(rows):
            raise ValueError(f"class {k} has no row in this split; expected three classes that have rows")
    drawn = [rows[np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int))] for rows in members]
    for part, block in blocks(features):
        for i in range(len(classes)):
            within, some = (_within(each[i], part) for each in (members, drawn))
            if len(within):
                sums[i] = sums[i] + block[within].double().sum(dim=0).cpu()
            if len(some):
                kept[i].append(block[some].double().cpu())
    means = np.stack([np.asarray(total) / len(rows) for total, rows in zip(sums, members, strict=True)])
    return Sample(
        means,
        torch.cat([torch.cat(parts) for parts in kept]).numpy(),
        np.repeat(np.arange(len(classes)), [len(rows) for rows in drawn]),
    )


def only(head: LinearHead, classes: Sequence[int]) -> LinearHead:
    """The head of just these classes: the same logits for them, of any type of head."""
    a_class = {"weight", "bias", "scale", "offset"}
    chosen = {name: tensor[list(classes)] for name, tensor in head.tensors().items() if name in a_class}
    return replace(head, **chosen)  # type: ignore[arg-type]  # the names are those of tensors


def logits(head: LinearHead, rows: Floats) -> Floats:
    """The head's logits (N, K) of features (N, D)."""
    return head(rows.astype(np.float32)).double().cpu().numpy()


def _within(rows: Ids, part: slice) -> Tensor:
    """Which of the ascending rows lie in the part, counted from its start."""
    low, high = np.searchsorted(rows, [part.start, part.stop])
    return torch.from_numpy(rows[low:high] - part.start)
