"""The prior a head is right for: heads that can say anything of every row give just its posterior."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rebalance import METHODS, LinearHead
from rebalance.methods import balanced_softmax, class_balanced, crt, logit_adjust, logit_adjusted_loss
from rebalance.prior import log_prior
from rebalance.solving.shares import power_shares
from rebalance.source_prior import source_prior

# Rows by cell and class: 4 cells, 3 classes with 60, 30 and 10 rows.
ROWS = np.array([[30, 6, 1], [15, 9, 2], [10, 9, 3], [5, 6, 4]])
COUNTS = ROWS.sum(axis=0)
CELLS, LABELS = (torch.from_numpy(each) for each in np.repeat(np.argwhere(ROWS >= 0), ROWS.ravel(), axis=0).T.copy())
EXACT = {"weight_decay": 0.0, "tol": 1e-7}


def features() -> torch.Tensor:
    """A column a cell: a linear head on them can give every cell any probabilities."""
    return torch.eye(len(ROWS))[CELLS]


def joint() -> LinearHead:
    """Plain cross-entropy, its minimum."""
    found = class_balanced(None, features(), LABELS, beta=0.0, **EXACT)
    return LinearHead(found.weight, found.bias, record={"method": "joint", "hyperparameters": {}})


def heads() -> dict[str, LinearHead]:
    """Heads of the methods whose minimum is known, by a name."""
    shares = [0.2, 0.5, 0.3]
    return {
        "joint": joint(),
        "crt": crt(None, features(), LABELS, **EXACT),
        "balanced softmax": balanced_softmax(None, features(), LABELS, **EXACT),
        "adjusted loss": logit_adjusted_loss(None, features(), LABELS, tau=0.4, **EXACT),
        "class balanced": class_balanced(None, features(), LABELS, beta=0.95, **EXACT),
        "class balanced, all": class_balanced(None, features(), LABELS, beta=1.0, **EXACT),
        "adjusted": logit_adjust(joint(), features(), LABELS, tau=1.0),
        "half adjusted": logit_adjust(joint(), features(), LABELS, tau=0.5),
        "adjusted to shares": logit_adjust(joint(), features(), LABELS, tau=1.0, target_prior=shares),
        "adjusted to train": logit_adjust(joint(), features(), LABELS, tau=1.0, target_prior="train"),
    }


@pytest.mark.parametrize("name", heads())
def test_probabilities_are_the_posterior_under_that_prior(name: str) -> None:
    head = heads()[name]
    prior = source_prior(head.record, 3, COUNTS)
    assert prior is not None
    posterior = prior.numpy() * ROWS / COUNTS
    posterior /= posterior.sum(axis=1, keepdims=True)
    found = head(torch.eye(len(ROWS))).double().softmax(dim=1).numpy()
    np.testing.assert_allclose(found, posterior, atol=2e-4)  # where the solver stops in float32


def test_the_priors_of_these_heads_differ() -> None:
    priors = {name: source_prior(head.record, 3, COUNTS) for name, head in heads().items()}
    found = {name: tuple(np.round(prior.numpy(), 3)) for name, prior in priors.items() if prior is not None}
    assert found["joint"] == found["adjusted to train"] == (0.6, 0.3, 0.1)
    assert found["crt"] == found["adjusted"] == found["class balanced, all"] == (0.333, 0.333, 0.333)
    assert found["adjusted to shares"] == (0.2, 0.5, 0.3)
    assert len(set(found.values())) == 6


@pytest.mark.parametrize("method", ["marc", "disalign"])
@pytest.mark.parametrize("rho", [0.0, 0.6, 1.0, 1.2])
def test_powers_of_counts_are_the_shares_of_the_loss(method: str, rho: float) -> None:
    found = source_prior({"method": method, "hyperparameters": {"rho": rho}}, 3, COUNTS)
    shares = power_shares(torch.from_numpy(COUNTS), rho)
    torch.testing.assert_close(found, shares / shares.sum())


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"method": "temperature"}, (0.6, 0.3, 0.1)),
        ({"method": "temperature", "fitted_on": "val"}, (0.6, 0.3, 0.1)),
        ({"method": "lws"}, (1 / 3, 1 / 3, 1 / 3)),
        ({"method": "lda", "hyperparameters": {"prior": "uniform"}}, (1 / 3, 1 / 3, 1 / 3)),
        ({"method": "lda", "hyperparameters": {"prior": "empirical"}, "fitted_on": "train"}, (0.6, 0.3, 0.1)),
        ({"method": "multiplicative", "hyperparameters": {"gamma": 0, "tau": 1}}, (1 / 3, 1 / 3, 1 / 3)),
        ({"method": "vs_loss", "hyperparameters": {"gamma": 0.0, "tau": 0.0}}, (0.6, 0.3, 0.1)),
        ({"method": "label_shift", "label_shift": {"prior": [0.1, 0.2, 0.7]}}, (0.1, 0.2, 0.7)),
    ],
)
def test_other_records(record: dict[str, Any], expected: tuple[float, ...]) -> None:
    found = source_prior(record, 3, COUNTS)
    assert found is not None
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"method": ["crt"]},
        {"method": "nobody knows"},
        {"method": "tau_norm", "hyperparameters": {"tau": 1.0}},
        {"method": "vector_scaling"},
        {"method": "multiplicative", "hyperparameters": {"gamma": 0.3, "tau": 1.0}},
        {"method": "logit_adjust"},
        {"method": "logit_adjust", "hyperparameters": {"tau": "1"}},
        {"method": "logit_adjust", "hyperparameters": {"tau": True}},
        {"method": "logit_adjust", "hyperparameters": {"tau": 1.0, "target_prior": [0.5, 0.5]}},
        {"method": "logit_adjust", "hyperparameters": {"tau": 1.0, "target_prior": "sky"}},
        {"method": "class_balanced", "hyperparameters": {"beta": 7}},
        {"method": "class_balanced", "hyperparameters": {"beta": 0.9}, "fitted_on": "val"},
        {"method": "marc", "hyperparameters": {"rho": 1.2}, "fitted_on": "val"},
        {"method": "label_shift", "label_shift": {"prior": ["a", "b", "c"]}},
        {"method": "label_shift"},
        {"method": "lda", "hyperparameters": "none"},
    ],
)
def test_records_that_do_not_tell(record: dict[str, Any]) -> None:
    assert source_prior(record, 3, COUNTS) is None


def test_counts_are_needed_only_where_they_count() -> None:
    assert source_prior({"method": "crt"}, 3, None) is not None
    adjusted = {"method": "logit_adjust", "hyperparameters": {"tau": 1.0, "target_prior": "uniform"}}
    assert source_prior(adjusted, 3, None) is not None
    for record in ({"method": "joint"}, {"method": "logit_adjust", "hyperparameters": {"tau": 0.5}}):
        with pytest.raises(ValueError, match="training rows a class are not known"):
            source_prior(record, 3, None)
    with pytest.raises(ValueError, match=r"counts have shape \(2,\); expected \(3,\)"):
        source_prior({"method": "joint"}, 3, [1, 2])


def test_a_class_without_rows_counts_as_half_a_row() -> None:
    found = source_prior({"method": "joint"}, 3, [6, 3, 0])
    assert found is not None
    assert torch.equal(found, log_prior([6, 3, 0]).exp())
    balanced = source_prior({"method": "class_balanced", "hyperparameters": {"beta": 0.9}}, 3, [6, 3, 0])
    assert balanced is not None
    assert bool((balanced > 0).all())


def test_every_named_method_is_one() -> None:
    from rebalance import source_prior as module

    named = {*module.UNIFORM, *module.TRAIN, *module.POWER, "lda", "class_balanced"}
    assert named <= set(METHODS)
