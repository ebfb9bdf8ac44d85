"""LWS learns one factor a class and nothing else."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from rebalance import LinearHead, NormalizedHead
from rebalance.methods import lws
from rebalance.sampling import class_balanced

DECAY = 1e-2
TOL = 1e-4  # about where float32 logits end the line search


def fit(head: Any, features: Any, labels: Any, decay: float = DECAY, tol: float = TOL) -> LinearHead:
    return lws(head, features, labels, weight_decay=decay, tol=tol)


def scales_of(out: LinearHead, head: LinearHead) -> np.ndarray[Any, Any]:
    """The factors, read off the entries of each class's weight; they must agree with one another."""
    ratio = (out.weight.double() / head.weight.double()).numpy()
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(ratio.shape[1], 1), rtol=1e-5)
    return np.asarray(ratio[:, 0])


def objective(scales: Any, head: LinearHead, features: Any, labels: Any, decay: float) -> tuple[float, Any]:
    """Mean over classes of the class's mean cross-entropy of s (W x + b), plus decay / 2 |s|^2; and its gradient."""
    x, y = features.double().numpy(), labels.numpy()
    z = x @ head.weight.double().numpy().T + head.bias.double().numpy()
    t = z * scales
    log_p = t - t.max(1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
    present, rows = np.unique(y, return_counts=True)
    share = np.zeros(len(scales))
    share[present] = 1 / (len(present) * rows)
    value = -(share[y] * log_p[np.arange(len(y)), y]).sum() + decay / 2 * (scales**2).sum()
    p = np.exp(log_p)
    p[np.arange(len(y)), y] -= 1
    return float(value), (share[y][:, None] * p * z).sum(0) + decay * scales


@pytest.mark.parametrize("decay", [0.0, 1e-3, 1.0])
def test_the_factors_are_optimal(problem: Any, decay: float) -> None:
    out = fit(problem.head, problem.features, problem.labels, decay)
    assert out.record["solver"]["converged"]
    scales = scales_of(out, problem.head)
    _, start = objective(np.ones(5), problem.head, problem.features, problem.labels, decay)
    value, gradient = objective(scales, problem.head, problem.features, problem.labels, decay)
    # The solver's gradient is of float32 logits, the factors are read off rounded weights.
    assert np.abs(gradient).max() <= 3 * TOL * np.abs(start).max()
    assert value == pytest.approx(out.record["solver"]["objective"], rel=1e-5)
    for step in np.eye(5):
        assert objective(scales + 0.05 * step, problem.head, problem.features, problem.labels, decay)[0] > value
        assert objective(scales - 0.05 * step, problem.head, problem.features, problem.labels, decay)[0] > value


def test_it_starts_at_the_joint_head_and_is_no_worse(problem: Any) -> None:
    before, _ = objective(np.ones(5), problem.head, problem.features, problem.labels, DECAY)
    for tol in (0.5, 1e-2, 1e-4):
        out = fit(problem.head, problem.features, problem.labels, tol=tol)
        after, _ = objective(scales_of(out, problem.head), problem.head, problem.features, problem.labels, DECAY)
        assert after < before
    lazy = fit(problem.head, problem.features, problem.labels, tol=1.0)
    assert torch.equal(lazy.weight, problem.head.weight)


def test_the_bias_is_scaled_too(problem: Any) -> None:
    out = fit(problem.head, problem.features, problem.labels)
    scales = torch.from_numpy(scales_of(out, problem.head)).float()
    torch.testing.assert_close(out.bias, problem.head.bias * scales, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out(problem.features), problem.head(problem.features) * scales, rtol=1e-4, atol=1e-4)


def test_much_decay_pulls_the_factors_to_zero(problem: Any) -> None:
    sizes = [
        float(np.linalg.norm(scales_of(fit(problem.head, problem.features, problem.labels, decay), problem.head)))
        for decay in (1e-3, 1e-1, 10.0)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.3


def test_learning_again_changes_nothing(problem: Any) -> None:
    """Without decay the learned head's own factors are one; starting there it stays, and says it has converged."""
    once = fit(problem.head, problem.features, problem.labels, 0.0)
    twice = fit(once, problem.features, problem.labels, 0.0, tol=1e-3)
    np.testing.assert_allclose(scales_of(twice, once), 1, atol=1e-2)
    assert twice.record["solver"]["converged"]


def test_logits_that_are_not_kept_give_the_same_head(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = fit(problem.head, problem.features, problem.labels)
    monkeypatch.setattr("rebalance.solving.rescaling.KEEP", 0)
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 8 * 13)
    again = fit(problem.head, problem.features.half(), problem.labels)
    # Blocks of another size add up in another order.
    torch.testing.assert_close(again.weight, kept.weight, rtol=1e-3, atol=1e-3)


def test_a_class_without_rows_stays_finite_and_loses(problem: Any) -> None:
    labels = torch.where(problem.labels == 2, -1, problem.labels)
    out = fit(problem.head, problem.features, labels)
    before, after = (float(head(problem.features[labels >= 0]).softmax(1)[:, 2].mean()) for head in (problem.head, out))
    assert after <= before


def test_rows_repeated_within_their_class_change_nothing(problem: Any) -> None:
    tail = problem.labels == 4
    features = torch.cat([problem.features, problem.features[tail]])
    labels = torch.cat([problem.labels, problem.labels[tail]])
    one, other = fit(problem.head, features, labels), fit(problem.head, problem.features, problem.labels)
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-3, atol=1e-3)


def test_a_head_without_weights_has_nothing_to_scale(problem: Any, refuses: Any) -> None:
    with refuses("all weights", "lws"):
        fit(LinearHead(torch.zeros(5, 8)), problem.features, problem.labels)


def test_a_normalized_head_is_refused(problem: Any, refuses: Any) -> None:
    with refuses("lws", "NormalizedHead"):
        fit(NormalizedHead(torch.ones(5, 8)), problem.features, problem.labels)


def test_a_negative_decay_is_refused(problem: Any, refuses: Any) -> None:
    with refuses("weight_decay", "0 or more"):
        fit(problem.head, problem.features, problem.labels, -1.0)


def test_the_record_keeps_where_the_head_is_from(problem: Any) -> None:
    record = fit(problem.head, problem.features, problem.labels).record
    assert record["source"] == "test"
    assert record["method"] == "lws"
    assert record["hyperparameters"] == {
        "weight_decay": DECAY, "bias": "scale", "recipe": "fast", "batch": None, "tol": TOL, "seed": 0
    }  # fmt: skip
    assert record["solver"].keys() >= {"recipe", "rows", "products", "objective", "gradient", "passes", "converged"}
    assert (record["solver"]["rows"], record["solver"]["products"]) == (110, "float32")


def test_the_bias_is_kept_on_request_and_the_factors_are_optimal_then(problem: Any) -> None:
    out = lws(problem.head, problem.features, problem.labels, weight_decay=DECAY, tol=TOL, bias="keep")
    assert torch.equal(out.bias, problem.head.bias)
    scales = scales_of(out, problem.head)

    def value(factors: Any) -> float:
        z = problem.features.double() @ problem.head.weight.double().T * torch.from_numpy(factors) + out.bias.double()
        each = torch.nn.functional.cross_entropy(z, problem.labels, reduction="none")
        mean = torch.stack([each[problem.labels == k].mean() for k in range(5)]).mean()
        return float(mean) + DECAY / 2 * float((factors**2).sum())

    assert value(scales) == pytest.approx(out.record["solver"]["objective"], rel=1e-5)
    for step in 0.05 * np.eye(5):
        assert min(value(scales + step), value(scales - step)) > value(scales)
    assert not np.allclose(scales, scales_of(fit(problem.head, problem.features, problem.labels), problem.head), 1e-2)


def restated(problem: Any, bias: str, epochs: int, rate: float, decay: float, batch: int, seed: int) -> Any:
    """The reference's loop in plain PyTorch; its module multiplies the whole output of the frozen layer."""
    scales = torch.nn.Parameter(torch.ones(5))
    optimiser = torch.optim.SGD([scales], lr=rate, momentum=0.9, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs, eta_min=0.0)
    sampler = class_balanced(problem.labels, epochs=epochs, seed=seed)
    head = problem.head
    for _ in range(epochs):
        order = torch.tensor(list(islice(sampler, len(problem.labels) // batch * batch)))
        for rows in order.split(batch):
            optimiser.zero_grad()
            products = problem.features[rows] @ head.weight.T
            logits = (products + head.bias) * scales if bias == "scale" else products * scales + head.bias
            torch.nn.functional.cross_entropy(logits, problem.labels[rows]).backward()
            optimiser.step()
        schedule.step()
    return scales.detach()


@pytest.mark.parametrize("bias", ["scale", "keep"])
@pytest.mark.parametrize(
    ("recipe", "rate", "decay"),
    [
        ("reference", 0.2 * 16 / 512, 5e-4),
        ("reference-places", 0.1 * 16 / 256, 5e-4),
        ("reference-inaturalist", 0.2 * 16 / 512, 1e-4),
    ],
)
def test_the_reference_is_the_papers_loop(problem: Any, bias: Any, recipe: Any, rate: float, decay: float) -> None:
    out = lws(problem.head, problem.features, problem.labels, bias=bias, recipe=recipe, batch=16, seed=3)
    expected = restated(problem, bias, 5, rate, decay, 16, seed=3)
    # Thirty float32 steps.
    torch.testing.assert_close(out.weight, problem.head.weight * expected[:, None], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(out.bias, problem.head.bias * (expected if bias == "scale" else 1), rtol=1e-4, atol=1e-6)
    solver = out.record["solver"]
    assert (solver["recipe"], solver["epochs"], solver["batch"], solver["seed"]) == (recipe, 5, 16, 3)
    assert solver["rate"] == pytest.approx(rate)


def test_the_optimum_is_no_worse_than_the_reference(problem: Any) -> None:
    best = fit(problem.head, problem.features, problem.labels)
    run = lws(problem.head, problem.features, problem.labels, weight_decay=DECAY, recipe="reference", batch=16)
    values = [
        objective(scales_of(out, problem.head), problem.head, problem.features, problem.labels, DECAY)[0]
        for out in (best, run)
    ]
    assert values[0] <= values[1]


def test_the_decay_is_the_recipes_unless_given(problem: Any) -> None:
    for recipe, decay in (("fast", 5e-4), ("reference", 5e-4), ("reference-inaturalist", 1e-4)):
        unsaid, said, other = (
            lws(problem.head, problem.features, problem.labels, recipe=recipe, weight_decay=each)
            for each in (None, decay, 10.0 if recipe == "fast" else 1.0)
        )
        assert torch.equal(unsaid.weight, said.weight)
        assert float(other.weight.norm()) < float(said.weight.norm())


def test_what_makes_no_sense_is_refused(problem: Any, refuses: Any) -> None:
    for wrong, part in (
        ({"bias": "drop"}, "bias is 'drop'"),
        ({"recipe": "slow"}, "recipe is 'slow'"),
        ({"batch": 64}, "batch is 64"),
        ({"batch": 0, "recipe": "reference"}, "batch is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"tol": 0.0}, "tol is 0"),
        ({"tol": 1e-3, "recipe": "reference"}, "recipe is reference"),
        ({"weight_decay": float("inf")}, "weight_decay is inf"),
    ):
        with refuses(part):
            lws(problem.head, problem.features, problem.labels, **wrong)


@pytest.fixture
def many_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem counts as one of many logits, of which ten rows a class are used, in float32."""
    patches = {"product_type": lambda device: torch.float32, "MANY": 0, "FEW": 10}
    for name, value in patches.items():
        monkeypatch.setitem(lws.__globals__, name, value)


@pytest.mark.usefixtures("many_logits")
def test_some_rows_of_every_class_will_do_where_there_are_many(problem: Any) -> None:
    out = lws(problem.head, problem.features, problem.labels, weight_decay=DECAY)
    assert out.record["solver"]["rows"] == 10 + 10 + 10 + 5 + 3
    best = fit(problem.head, problem.features, problem.labels)
    assert best.record["solver"]["rows"] == 110
    joint, some, all_rows = (
        objective(scales, problem.head, problem.features, problem.labels, DECAY)[0]
        for scales in (np.ones(5), scales_of(out, problem.head), scales_of(best, problem.head))
    )
    # Ten rows of a class know most of what its rows say of one factor.
    assert all_rows <= some < all_rows + 0.25 * (joint - all_rows)


@pytest.mark.usefixtures("many_logits")
def test_the_rows_used_are_those_of_the_seed(problem: Any) -> None:
    first, again, other = (lws(problem.head, problem.features, problem.labels, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


@pytest.mark.usefixtures("many_logits")
def test_classes_of_few_rows_lose_none(problem: Any) -> None:
    few = problem.labels > 2
    out = lws(problem.head, problem.features[few], problem.labels[few])
    expected = lws(problem.head, problem.features[few], problem.labels[few], tol=1e-3)
    assert out.record["solver"]["rows"] == 8
    assert torch.equal(out.weight, expected.weight)


def test_logits_that_do_not_fit_are_made_again_each_pass(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["rebalance.methods.lws"], "MANY", 0)
    expected = lws(problem.head, problem.features, problem.labels, tol=None)
    assert expected.record["solver"]["rows"] == 20 + 20 + 12 + 5 + 3
    monkeypatch.setattr(
        sys.modules["rebalance.methods.lws"], "KEEP", 125
    )  # of 5 classes: 4 * 125 / 25 = 20 rows of each, not 300 logits
    streamed = lws(problem.head, problem.features, problem.labels, tol=None)
    assert torch.equal(streamed.weight, expected.weight)


def test_with_many_classes_each_gives_fewer_rows(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["rebalance.methods.lws"], "MANY", 0)
    monkeypatch.setattr(sys.modules["rebalance.methods.lws"], "KEEP", 2)
    out = lws(problem.head, problem.features, problem.labels)
    assert out.record["solver"]["rows"] == 4 + 4 + 4 + 4 + 3
