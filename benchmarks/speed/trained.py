"""The trained heads against the reference's recipes and scikit-learn's logistic regression."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from rebalance import LinearHead, tune
from rebalance.methods import crt, lws
from speed import reference
from speed.measure import Timing, compare, in_turns, state
from speed.problem import REDUCED, SEED, Maker, Problem

RUNS = 3
DECAY = 5e-4  # of both sides
# Ours and scikit-learn's: what it does by default, and a step beyond; ours reaches an objective as low with each.
TOLERANCES = ((2e-3, 1e-4), (5e-4, 1e-5))


def retrained(problem: Problem) -> None:
    """Two rows: cRT by its default, and tuned on validation, against the reference's 10 epochs."""
    features, labels = problem.rows("train")
    head, val = problem.head, problem.rows("val")
    theirs = _reference_crt(problem)  # first: its features need not stay in memory
    ours, tuned = in_turns(
        (lambda: crt(head, features, labels), RUNS),
        (lambda: tune(crt, head, features, labels, val=val), 1),
    )
    test, test_labels = problem.tensors("test")

    def score(each: LinearHead) -> float:
        return reference.balanced(each(test).argmax(dim=1), test_labels)

    there = score(LinearHead(*theirs.result))
    compare("crt by default", ours, "10 epochs of the reference", theirs, target=25)
    here = score(ours.result)
    state(f"test balanced accuracy {100 * here:.2f} %, the reference's {100 * there:.2f} %: no lower", here >= there)
    compare("crt, tuned on validation", tuned, "10 epochs of the reference", theirs, target=5)
    here = score(tuned.result.head)
    chosen = ", ".join(f"{name} {value:g}" for name, value in tuned.result.parameters.items())
    state(f"test balanced accuracy {100 * here:.2f} % ({chosen}), {100 * there:.2f} %: higher", here > there)


def _reference_crt(problem: Problem) -> Timing:
    features, labels = problem.tensors("train")
    classes = problem.cache.num_classes
    (timing,) = in_turns((lambda: reference.crt(features, labels, classes, seed=SEED), 1))
    return timing


def scaled(problem: Problem) -> None:
    """One row: LWS against the reference's 5 epochs."""
    features, labels = problem.rows("train")
    head = problem.head
    dense, own = problem.tensors("train")
    ours, theirs = in_turns(
        (lambda: lws(head, features, labels), RUNS),
        (lambda: reference.lws(head.weight, head.bias, dense, own, seed=SEED), 1),
    )
    compare("lws", ours, "5 epochs of the reference", theirs, target=20)
    logits = head(dense)
    # The factors of our head, read off its weights.
    scales = (ours.result.weight * head.weight).sum(dim=1) / head.weight.square().sum(dim=1)
    weights = _balanced(own)
    here, there = (_loss(logits, own, weights, s) + _penalty(s) for s in (scales, theirs.result))
    state(f"objective {here:.6f}, the reference's {there:.6f}: no worse", here <= there)
    test, test_labels = problem.tensors("test")
    test_logits = head(test)
    here, there = (reference.balanced((test_logits * s).argmax(dim=1), test_labels) for s in (scales, theirs.result))
    print(f"  test balanced accuracy {100 * here:.2f} %, the reference's {100 * there:.2f} %")


def logistic() -> None:
    """Two rows: the convex optimum against scikit-learn's, at a reduced size, for each pair of tolerances."""
    maker = Maker(REDUCED, torch.device("cpu"))
    labels = maker.labels("train")
    features = torch.cat([rows for _, rows in maker.blocks(labels)])
    print("\nboth sides get the cached float16 features as they are; scikit-learn computes with them in float64")
    for tolerance, their_tolerance in TOLERANCES:
        # It minimises C sum_i s_i CE_i + |w|^2 / 2 with s_i = N / (K n_y); divided by C N that is our objective.
        model = LogisticRegression(
            C=1 / (DECAY * len(labels)), class_weight="balanced", tol=their_tolerance, max_iter=10_000
        )
        _optimum(features, labels, tolerance, model)


def _optimum(features: Tensor, labels: Tensor, tolerance: float, model: LogisticRegression) -> None:
    ours, theirs = in_turns(
        (lambda: crt(None, features, labels, weight_decay=DECAY, tol=tolerance), RUNS),
        (lambda: _fitted(model, features.numpy(), labels.numpy()), RUNS),
    )
    weights = _balanced(labels)
    here, there = (
        _loss(features.double() @ weight.double().T + bias.double(), labels, weights) + _penalty(weight)
        for weight, bias in (
            (ours.result.weight, ours.result.bias),
            (torch.from_numpy(theirs.result.coef_), torch.from_numpy(theirs.result.intercept_)),
        )
    )
    what = f"crt(tol={tolerance:g}) at {REDUCED}"
    compare(what, ours, f"LogisticRegression(tol={model.tol:g})", theirs, target=20)
    state(f"objective {here:.9f}, scikit-learn's {there:.9f}: no worse", here <= there)


def _fitted(model: LogisticRegression, features: Any, labels: Any) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one that has not converged is no baseline
        return model.fit(features, labels)


def _balanced(labels: Tensor) -> Tensor:
    """Row weights (N,) in float64 that give each of the K classes the same share: 1 / (K n_y)."""
    counts = torch.bincount(labels)
    return 1 / (len(counts) * counts[labels].double())


def _loss(logits: Tensor, labels: Tensor, weights: Tensor, scales: Tensor | float = 1.0) -> float:
    """The weighted cross-entropy, in float64 from block to block."""
    total = 0.0
    for part in np.array_split(np.arange(len(labels)), max(1, len(labels) // 4096)):
        rows = slice(int(part[0]), int(part[-1]) + 1)
        scores = logits[rows].double() * scales
        own = scores.gather(1, labels[rows, None])[:, 0]
        total += float(((scores.logsumexp(dim=1) - own) * weights[rows]).sum())
    return total


def _penalty(parameters: Tensor) -> float:
    return DECAY / 2 * float(parameters.double().square().sum())
