"""Small judged problems, and every figure of them by plain loops over rows and classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

BINS = 15
GROUPS: dict[str, Callable[[float], bool]] = {
    "many": lambda rows: rows > 100,
    "medium": lambda rows: 20 <= rows <= 100,
    "few": lambda rows: rows < 20,
}


@dataclass(frozen=True)
class Case:
    """Logits (N, K) and labels (N,) that need not hold every class, and what a report may be told besides."""

    logits: Tensor
    labels: np.ndarray[Any, Any]
    counts: np.ndarray[Any, Any]
    prior: np.ndarray[Any, Any]
    costs: np.ndarray[Any, Any]

    @property
    def classes(self) -> int:
        return self.logits.shape[1]


def make_case(shape: tuple[int, int, int]) -> Case:
    rows, classes, seed = shape
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes)) * rng.choice([0.5, 2.0, 6.0])
    logits[np.arange(rows), labels] += rng.choice([0.0, 1.0, 4.0])
    return Case(
        torch.from_numpy(logits.astype(np.float32)),
        labels,
        rng.choice([0, 1, 19, 20, 50, 100, 101, 500], classes),
        rng.uniform(0.1, 3.0, classes),
        rng.uniform(0, 2, (classes, classes)) * (1 - np.eye(classes)),
    )


@pytest.fixture(scope="session")
def case() -> Callable[[tuple[int, int, int]], Case]:
    """From (rows, classes, seed) to a problem."""
    return make_case


class Loops:
    """Every figure of logits and labels, a row and a class at a time.

    probabilities: (N, K), of the logits. weights: (N,), sum 1, by which a row counts.
    """

    def __init__(self, logits: Tensor, labels: Any, prior: Any = None, groups: dict[str, list[int]] | None = None):
        known = [row for row in range(len(labels)) if labels[row] >= 0]
        self.scores = [[float(value) for value in logits[row]] for row in known]
        self.labels = [int(labels[row]) for row in known]
        self.classes = range(len(self.scores[0]))
        self.groups = groups or {}
        self.rows = range(len(known))
        self.ranks = [sorted(self.classes, key=lambda k, row=row: (-row[k], k)) for row in self.scores]
        self.guess = [rank[0] for rank in self.ranks]
        self.probabilities = [softmax(row) for row in self.scores]
        # As torch rounds them, so that what is equal there is equal here, and falls into the same bin.
        self.confidence = torch.from_numpy(np.array(self.scores)).log_softmax(1).amax(1).exp().clamp(max=1).tolist()
        self.correct = [guess == label for guess, label in zip(self.guess, self.labels, strict=True)]
        size = {k: self.labels.count(k) for k in self.classes}
        share = dict.fromkeys(self.classes, 1.0) if prior is None else dict(enumerate(map(float, prior)))
        weights = [1.0 if prior is None else share[k] / size[k] for k in self.labels]
        self.weights = [weight / math.fsum(weights) for weight in weights]
        self.present = [k for k in self.classes if self.mass(k)]

    def mean(self, values: Any, rows: Any = None) -> float | None:
        """The weighted mean over some rows; None where they weigh nothing."""
        rows = self.rows if rows is None else rows
        mass = math.fsum(self.weights[row] for row in rows)
        return math.fsum(self.weights[row] * values[row] for row in rows) / mass if mass else None

    def mass(self, label: int | None = None, guess: int | None = None) -> float:
        """The weight of the rows of a label, of a prediction, or of both."""
        return math.fsum(
            self.weights[row]
            for row in self.rows
            if label in (None, self.labels[row]) and guess in (None, self.guess[row])
        )

    def recall(self, k: int) -> float:
        return self.mass(k, k) / self.mass(k) if self.mass(k) else math.nan

    def precision(self, k: int) -> float:
        return self.mass(k, k) / self.mass(guess=k) if self.mass(guess=k) else math.nan

    def f1(self, k: int) -> float:
        size = self.mass(k) + self.mass(guess=k)
        return 2 * self.mass(k, k) / size if size else math.nan

    def nll(self) -> list[float]:
        return [
            max(row) + math.log(math.fsum(math.exp(value - max(row)) for value in row)) - row[label]
            for row, label in zip(self.scores, self.labels, strict=True)
        ]

    def brier(self) -> list[float]:
        return [
            math.fsum((p - (k == label)) ** 2 for k, p in enumerate(row))
            for row, label in zip(self.probabilities, self.labels, strict=True)
        ]

    def decisions(self, costs: Any) -> list[int]:
        """The decision of least cost under the head's own probabilities."""
        expected = [
            [math.fsum(p * costs[k][d] for k, p in enumerate(row)) for d in self.classes] for row in self.probabilities
        ]
        return [row.index(min(row)) for row in expected]

    def cost(self, costs: Any, decisions: list[int]) -> float | None:
        return self.mean([costs[label][made] for label, made in zip(self.labels, decisions, strict=True)])

    def equal_width(self, values: Any, hits: Any, rows: Any = None) -> float | None:
        """Bins closed on the right; exactly 0 is in the first."""
        rows = self.rows if rows is None else rows
        mass = math.fsum(self.weights[row] for row in rows)
        total = 0.0
        for b in range(BINS):
            inside = [row for row in rows if b / BINS < values[row] <= (b + 1) / BINS or (b == 0 and values[row] == 0)]
            total += abs(math.fsum(self.weights[row] * (values[row] - hits[row]) for row in inside))
        return total / mass if mass else None

    def equal_mass(self, rows: Any = None) -> float | None:
        """Rows of one confidence are one piece, spread evenly, and cut where a bin ends."""
        rows = self.rows if rows is None else rows
        mass = math.fsum(self.weights[row] for row in rows)
        if not mass:
            return None
        total, pieces, reached = 0.0, [], 0.0
        for confidence in sorted({self.confidence[row] for row in rows}):
            same = [row for row in rows if self.confidence[row] == confidence]
            weight = math.fsum(self.weights[row] for row in same) / mass
            if weight:
                pieces.append((reached, reached + weight, confidence - self.mean(self.correct, same)))
                reached += weight
        for b in range(BINS):
            low, high = b / BINS, (b + 1) / BINS
            total += abs(math.fsum(gap * max(0.0, min(high, to) - max(low, since)) for since, to, gap in pieces))
        return total

    def classwise(self, k: int) -> float | None:
        """The equal-width error of one class's probability over all rows."""
        return self.equal_width([row[k] for row in self.probabilities], [label == k for label in self.labels])

    def figures(self, costs: Any = None) -> dict[str, float | None]:
        """All of them by name; None where one is not defined."""
        recalls = [self.recall(k) for k in self.present]
        found = {
            "top1": self.mean(self.correct),
            "top5": None if len(self.classes) <= 5 else self.mean(self.in_top5()),
            "balanced": mean(recalls),
            "worst": min(recalls),
            "harmonic": len(recalls) / math.fsum(1 / r for r in recalls) if min(recalls) else 0.0,
            "geometric": math.prod(recalls) ** (1 / len(recalls)),
            "macro_f1": mean([self.f1(k) for k in self.present]),
            "weighted_f1": math.fsum(self.mass(k) * self.f1(k) for k in self.present),
            "macro_precision": mean([self.precision(k) if self.mass(guess=k) else 0.0 for k in self.present]),
            "nll": self.mean(self.nll()),
            "brier": self.mean(self.brier()),
            "ece": self.equal_width(self.confidence, self.correct),
            "ece_equal_mass": self.equal_mass(),
            "ece_classwise": mean([self.classwise(k) for k in self.present]),
            "cost": None if costs is None else self.cost(costs, self.guess),
            "minimum_risk_cost": None if costs is None else self.cost(costs, self.decisions(costs)),
        }
        for name in ("many", "medium", "few"):
            ids = [k for k in self.groups.get(name, []) if k in self.present]
            rows = [row for row in self.rows if self.labels[row] in ids]
            found |= {
                name: mean([self.recall(k) for k in ids]),
                f"ece_{name}": self.equal_width(self.confidence, self.correct, rows),
                f"ece_equal_mass_{name}": self.equal_mass(rows),
                f"ece_classwise_{name}": mean([self.classwise(k) for k in ids]),
            }
        return found

    def in_top5(self) -> list[bool]:
        return [label in rank[:5] for label, rank in zip(self.labels, self.ranks, strict=True)]


def mean(values: Any) -> float | None:
    return math.fsum(values) / len(values) if values else None


def softmax(row: list[float]) -> list[float]:
    raised = [math.exp(value - max(row)) for value in row]
    return [value / math.fsum(raised) for value in raised]


@pytest.fixture(scope="session")
def loops() -> type[Loops]:
    return Loops


@pytest.fixture(scope="session")
def group_of() -> Callable[[Any], dict[str, list[int]]]:
    """From the training counts (K,) to the class ids of many, medium and few."""
    return lambda counts: {name: [k for k, rows in enumerate(counts) if rule(rows)] for name, rule in GROUPS.items()}
