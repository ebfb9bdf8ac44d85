"""The prior that a head's probabilities are right for, as far as its record tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rebalance.prior import EMPTY, as_prior, log_prior, log_target
from rebalance.solving.shares import effective_shares

# Trained with every class weighing the same, or made of the class means alone.
UNIFORM = ("crt", "lws", "ncm", "balanced_softmax", "label_aware_smoothing")
# Right for the prior of the rows; a temperature changes no prior.
TRAIN = ("joint", "temperature")
# The hyperparameter t of z + t log p being fitted, or of t log p being taken out: what is left is p^(1 - t). In marc
# and disalign a row of a class with n rows weighs n^-t, so the class n^(1 - t).
POWER = {
    "logit_adjust": "tau",
    "logit_adjusted_loss": "tau",
    "multiplicative": "tau",
    "vs_loss": "tau",
    "cosine": "adjustment",
    "marc": "rho",
    "disalign": "rho",
}


def source_prior(record: Mapping[str, Any], num_classes: int, counts: ArrayLike | None) -> Tensor | None:
    """The shares (K,), float64, that the probabilities of a head with this record are right for; None: unknown.

    record: of the head, as its file holds it; anyone may have written it. num_classes: K.
    counts: (K,) training rows a class, None where they are not known. An empty class counts as half a row.
    ValueError when the shares follow from the counts, and there are none.

    A loss whose classes hold shares s of it fits the probabilities under the prior s. Nothing is known of methods that
    rescale logits or weights by another rule (tau_norm, ldam, focal, weight_balance, over_smoothing, and the powers of
    multiplicative and vs_loss), nor of offsets fitted to rows of a prior that nobody recorded.
    """
    method, settings = record.get("method"), record.get("hyperparameters")
    settings = settings if isinstance(settings, Mapping) else {}
    if method in UNIFORM or (method == "lda" and settings.get("prior") == "uniform"):
        return torch.full((num_classes,), 1 / num_classes, dtype=torch.float64)
    if method in TRAIN:
        return log_prior(_counts(counts, num_classes)).exp()
    if method == "label_shift":
        return _recorded(record, num_classes)
    if record.get("fitted_on") not in (None, "train"):
        return None  # the counts are not those of its rows
    if method == "lda" and settings.get("prior") == "empirical":
        return log_prior(_counts(counts, num_classes)).exp()
    if method == "class_balanced" and (beta := _number(settings, "beta")) is not None and 0 <= beta <= 1:
        return _effective(beta, num_classes, counts)
    power = _number(settings, POWER[method]) if isinstance(method, str) and method in POWER else None
    if power is None or (method in ("multiplicative", "vs_loss") and _number(settings, "gamma") != 0):
        return None
    target = settings.get("target_prior", "uniform") if method == "logit_adjust" else "uniform"
    return _left(1 - power, target, num_classes, counts)


def _left(share: float, target: object, num_classes: int, counts: ArrayLike | None) -> Tensor | None:
    """The prior p^share q of training shares p and a target q; None for a target that is none."""
    uniform = torch.zeros(num_classes, dtype=torch.float64)
    logs = uniform if share == 0 and target != "train" else log_prior(_counts(counts, num_classes))
    try:
        wanted = log_target(target, logs)  # type: ignore[arg-type]  # a stranger's; what is none is refused
    except ValueError:
        return None
    return torch.softmax(share * logs + wanted, dim=0)


def _effective(beta: float, num_classes: int, counts: ArrayLike | None) -> Tensor:
    """Shares of a loss in which a row of a class with n rows weighs 1 / (1 - beta^n)."""
    if beta == 1:
        return torch.full((num_classes,), 1 / num_classes, dtype=torch.float64)
    rows = _counts(counts, num_classes)
    return as_prior(effective_shares(torch.from_numpy(np.where(rows > 0, rows, EMPTY)), beta), num_classes)


def _recorded(record: Mapping[str, Any], num_classes: int) -> Tensor | None:
    """The estimated prior of a head that label_shift corrected."""
    found = record.get("label_shift")
    try:
        return as_prior(found.get("prior") if isinstance(found, Mapping) else None, num_classes)  # type: ignore[arg-type]
    except ValueError:
        return None


def _number(settings: Mapping[str, Any], key: str) -> float | None:
    value = settings.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _counts(counts: ArrayLike | None, num_classes: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    if counts is None:
        raise ValueError("the training rows a class are not known: they are in the cache, not in a head's file")
    rows = np.asarray(counts, dtype=np.float64)
    if rows.shape != (num_classes,) or not rows.any():
        raise ValueError(f"counts have shape {rows.shape}; expected ({num_classes},), training rows a class")
    return rows
