"""Label shift: known priors are found again, EM is the likelihood's maximum, BBSE the nearest prior there is."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rebalance import LinearHead
from rebalance.label_shift import label_shift

MEANS = torch.tensor([[0.0, 2.0], [2.0, 0.0], [-1.5, -1.5], [1.0, -2.5]])
TRAIN = (4000, 800, 150, 50)
TARGET = (400, 2000, 1600, 4000)


def draw(counts: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    noise = torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(seed))
    return MEANS[labels] + noise, labels


def bayes(counts: tuple[float, ...]) -> LinearHead:
    """The head whose probabilities are exactly right for classes N(mean, I) in these shares."""
    prior = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    return LinearHead(MEANS, prior.log() - MEANS.double().square().sum(1) / 2, record={"source": "test"})


HEAD = bayes(TRAIN)
ROWS, TRUTH = draw(TARGET, 0)
VAL = draw((500,) * 4, 1)
METHODS = pytest.mark.parametrize("keywords", [{}, {"method": "bbse", "val": VAL}], ids=["em", "bbse"])


@METHODS
def test_a_known_prior_is_found_again(keywords: Any) -> None:
    found = label_shift(HEAD, ROWS, counts=TRAIN, **keywords)
    # 8,000 rows and 500 val rows a class: standard errors of below 0.006 and 0.015.
    np.testing.assert_allclose(found.prior, np.array(TARGET) / 8000, atol=0.045)
    assert math.isclose(found.prior.sum(), 1, rel_tol=1e-12)
    assert found.converged
    # The corrected head decides nearly as the one that is right under the target prior.
    right = bayes(TARGET)(ROWS).argmax(1)
    assert float((found.head(ROWS).argmax(1) == right).double().mean()) > 0.98
    assert float((HEAD(ROWS).argmax(1) == right).double().mean()) < 0.9


@METHODS
def test_without_a_shift_nothing_moves_much(keywords: Any) -> None:
    rows, _ = draw(TRAIN, 2)
    found = label_shift(HEAD, rows, counts=TRAIN, **keywords)
    np.testing.assert_allclose(found.prior, np.array(TRAIN) / 5000, atol=0.03)  # three standard errors of bbse


@METHODS
def test_the_head_is_moved_from_the_training_prior_to_the_one_found(keywords: Any) -> None:
    found = label_shift(HEAD, ROWS, counts=TRAIN, **keywords)
    weighted = HEAD(ROWS).double().softmax(1).numpy() * found.prior / (np.array(TRAIN) / 5000)
    expected = weighted / weighted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.head(ROWS).softmax(1).numpy(), expected, rtol=1e-3, atol=1e-6)  # float32 logits
    record = found.head.record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["method"], record["source"]) == ("label_shift", "test")
    assert record["label_shift"]["prior"] == found.prior.tolist()


@METHODS
def test_the_order_of_classes_and_of_rows_does_not_matter(keywords: Any) -> None:
    order = torch.tensor([2, 0, 3, 1])
    expected = label_shift(HEAD, ROWS, counts=TRAIN, **keywords).prior
    renamed = dict(keywords)
    if "val" in renamed:
        renamed["val"] = VAL[0], order.argsort()[VAL[1]]
    other = LinearHead(HEAD.weight[order], HEAD.bias[order])
    shuffled = ROWS[torch.randperm(len(ROWS), generator=torch.Generator().manual_seed(0))]
    found = label_shift(other, shuffled, counts=np.array(TRAIN)[order], **renamed)
    np.testing.assert_allclose(found.prior, expected[order], atol=2e-5)  # EM's tolerance and float32 sums


class TestEM:
    """The likelihood of the rows under a prior has one maximum, and EM climbs to it."""

    @staticmethod
    def likelihood(prior: Any) -> Any:
        ratio = np.asarray(prior) / (np.array(TRAIN) / 5000)
        return np.log(HEAD(ROWS).double().softmax(1).numpy() @ ratio.T).mean(axis=0)

    def test_one_step_is_the_mean_probability(self) -> None:
        found = label_shift(HEAD, ROWS, counts=TRAIN, max_iterations=1)
        np.testing.assert_allclose(found.prior, HEAD(ROWS).double().softmax(1).mean(0).numpy(), atol=1e-6)
        assert (found.iterations, found.converged, found.condition) == (1, False, None)

    def test_every_step_raises_the_likelihood(self) -> None:
        steps = [label_shift(HEAD, ROWS, counts=TRAIN, max_iterations=n).prior for n in range(1, 12)]
        values = np.array([self.likelihood(prior) for prior in steps])
        assert (np.diff(values) > 0).all()

    def test_the_end_is_the_maximum(self) -> None:
        found = label_shift(HEAD, ROWS, counts=TRAIN, tol=1e-7, max_iterations=1000)
        rng = np.random.default_rng(0)
        others = 0.9 * found.prior + 0.1 * rng.dirichlet(np.ones(4), 200)
        near = 0.999 * found.prior + 0.001 * rng.dirichlet(np.ones(4), 200)
        # The likelihood is flat at its maximum, and float32 leaves the end 1e-6 away from it.
        assert self.likelihood(found.prior) >= self.likelihood(np.concatenate([others, near])).max() - 1e-9

    def test_rows_beyond_memory_are_computed_again(self, monkeypatch: pytest.MonkeyPatch, slice_only: Any) -> None:
        expected = label_shift(HEAD, ROWS, counts=TRAIN).prior
        monkeypatch.setitem(label_shift.__globals__, "KEEP", 0)
        monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 2 * 999)
        found = label_shift(HEAD, slice_only(ROWS), counts=TRAIN).prior
        np.testing.assert_allclose(found, expected, atol=1e-5)  # sums of float32 in other blocks

    def test_a_class_that_never_comes_gets_next_to_nothing(self) -> None:
        rows, _ = draw((3000, 0, 3000, 0), 3)
        found = label_shift(bayes((4000, 800, 150, 0.5)), rows, counts=(4000, 800, 150, 0), max_iterations=1000)
        assert found.prior[[1, 3]].sum() < 0.01
        assert bool(torch.isfinite(found.head.bias).all())

    def test_certain_probabilities_are_counted(self) -> None:
        head = LinearHead(1e4 * torch.eye(3))
        rows = torch.eye(3)[[0, 0, 1, 2]]
        np.testing.assert_allclose(label_shift(head, rows, counts=[1, 1, 10**6]).prior, [0.5, 0.25, 0.25], atol=1e-6)


class TestBBSE:
    """The confusion matrix, its inverse, and the simplex."""

    def test_it_solves_the_confusions(self) -> None:
        found = label_shift(HEAD, ROWS, counts=TRAIN, method="bbse", val=VAL)
        guesses, val_guesses = HEAD(ROWS).argmax(1), HEAD(VAL[0]).argmax(1)
        confusion = np.array(
            [[float((val_guesses[VAL[1] == k] == j).double().mean()) for k in range(4)] for j in range(4)]
        )
        shares = np.bincount(guesses.numpy(), minlength=4) / len(ROWS)
        np.testing.assert_allclose(found.prior, np.linalg.solve(confusion, shares), atol=1e-12)
        assert found.condition is not None
        assert math.isclose(found.condition, np.linalg.cond(confusion), rel_tol=1e-9)
        assert (found.iterations, found.converged) == (0, True)

    def test_the_shares_of_val_do_not_matter(self) -> None:
        features, labels = VAL
        again = torch.cat([features, features[labels == 1], features[:7]])
        label = torch.cat([labels, labels[labels == 1], torch.full((7,), -1)])
        expected = label_shift(HEAD, ROWS, counts=TRAIN, method="bbse", val=VAL).prior
        found = label_shift(HEAD, ROWS, counts=TRAIN, method="bbse", val=(again, label)).prior
        np.testing.assert_allclose(found, expected, atol=1e-12)

    @pytest.mark.parametrize("seed", range(5))
    def test_where_the_solution_has_negative_shares_the_nearest_prior_is_taken(self, seed: int) -> None:
        # Rows of one point each: all predicted 0, more often than any class's val rows are.
        rng = np.random.default_rng(seed)
        head = LinearHead(10 * torch.eye(3))
        labels = torch.arange(3).repeat_interleave(20)
        guesses = torch.where(torch.from_numpy(rng.random(60)) < 0.3, torch.from_numpy(rng.integers(0, 3, 60)), labels)
        rows = torch.from_numpy(rng.choice(3, 50, p=[0.97, 0.02, 0.01]))
        found = label_shift(
            head, torch.eye(3)[rows], counts=[1, 1, 1], method="bbse", val=(torch.eye(3)[guesses], labels)
        )
        confusion = np.array([[float((guesses[labels == k] == j).double().mean()) for k in range(3)] for j in range(3)])
        shares = np.bincount(rows.numpy(), minlength=3) / 50
        assert (np.linalg.solve(confusion, shares) < 0).any()
        a, b = np.meshgrid(np.linspace(0, 1, 401), np.linspace(0, 1, 401))
        grid = np.stack([a, b, 1 - a - b])[:, a + b <= 1]
        best = np.linalg.norm(confusion @ grid - shares[:, None], axis=0).min()
        assert (found.prior >= 0).all()
        assert math.isclose(found.prior.sum(), 1, rel_tol=1e-12)
        assert np.linalg.norm(confusion @ found.prior - shares) <= best + 1e-12
        absent = found.prior == 0
        assert absent.any()
        logits = found.head(torch.eye(3))
        assert bool(torch.isfinite(logits).all())
        assert bool((logits[:, absent] < -1e29).all())

    def test_a_class_that_is_never_predicted_makes_it_singular(self, refuses: Any) -> None:
        head = LinearHead(MEANS, torch.tensor([0.0, 0.0, -1e9, 0.0]))
        with refuses("singular", "class 2 is never predicted", "method=em"):
            label_shift(head, ROWS, counts=TRAIN, method="bbse", val=VAL)

    def test_two_classes_that_are_confused_alike_make_it_singular(self, refuses: Any) -> None:
        labels = torch.tensor([0, 0, 1, 1])
        with refuses("singular", "condition number"):
            label_shift(LinearHead(torch.eye(2)), torch.eye(2), counts=[1, 1], method="bbse",
                        val=(torch.eye(2)[[0, 1, 0, 1]], labels))  # fmt: skip

    def test_every_class_needs_val_rows(self, refuses: Any) -> None:
        keep = VAL[1] != 3
        with refuses("class 3 has no rows in val"):
            label_shift(HEAD, ROWS, counts=TRAIN, method="bbse", val=(VAL[0][keep], VAL[1][keep]))
        with refuses("2000 labels for 1999 rows"):
            label_shift(HEAD, ROWS, counts=TRAIN, method="bbse", val=(VAL[0][:-1], VAL[1]))


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"method": "rlls"}, "method is 'rlls'"),
        ({"method": "bbse"}, "expected val="),
        ({"val": VAL}, "em takes no labelled rows"),
        ({"tol": 0.0}, "tol is 0"),
        ({"tol": math.nan}, "tol is nan"),
        ({"max_iterations": 0}, "max_iterations is 0"),
        ({"counts": (1, 2, 3)}, "counts have shape"),
    ],
)
def test_wrong_arguments_are_refused(keywords: Any, says: str, refuses: Any) -> None:
    with refuses(says):
        label_shift(HEAD, ROWS[:10], **{"counts": TRAIN, **keywords})


@METHODS
def test_rows_that_are_none_or_not_finite_are_refused(keywords: Any, refuses: Any) -> None:
    with refuses("no rows"):
        label_shift(HEAD, ROWS[:0], counts=TRAIN, **keywords)
    rows = ROWS[:20].clone()
    rows[11, 1] = math.nan
    with refuses("row 11 of 20", "NaN"):
        label_shift(HEAD, rows, counts=TRAIN, **keywords)
