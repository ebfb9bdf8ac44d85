"""Estimate the unknown prior of unlabelled rows, and correct a head for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rebalance.blocks import Features, Labels, as_labels, blocks, refuse_nonfinite
from rebalance.classes import class_counts
from rebalance.head import LinearHead
from rebalance.methods.logit_adjust import shifted
from rebalance.methods.needs import lineage
from rebalance.metrics import refuse_bad_logits
from rebalance.prior import log_prior, training_counts
from rebalance.search.path import Floats

KEEP = 2**27  # probabilities up to this many (0.5 GiB) are kept between passes; more are computed again
CONDITION = 1e6  # above it, one row in a million that is predicted otherwise turns the shares over


@dataclass(frozen=True)
class LabelShift:
    """What `label_shift` found.

    head: the corrected head. prior: (K,) the estimated shares of the classes, with sum 1.
    iterations, converged: of EM; 0 and True for BBSE. condition: the condition number of BBSE's matrix, by which
    errors in the shares of the predictions may grow; None for EM.
    """

    head: LinearHead
    prior: Floats
    iterations: int
    converged: bool
    condition: float | None


def label_shift(
    head: LinearHead,
    features: Features,
    *,
    counts: ArrayLike,
    method: Literal["em", "bbse"] = "em",
    val: tuple[Features, Labels] | None = None,
    tol: float = 1e-6,
    max_iterations: int = 100,
) -> LabelShift:
    """The head corrected for the prior of these unlabelled rows, which is estimated from its own predictions.

    head: of any type. features: (N, D), the rows to be predicted. Their estimate serves them: it tells nothing of
    rows drawn in other shares.
    counts: (K,), the class counts that the head's probabilities are right for: those of training for a joint head,
    equal ones for a head that was balanced. An empty class counts as half a row.
    method: em takes the head's probabilities at their word, so calibrate the head first; bbse only its decisions.
    val: (features, labels) that bbse counts its confusions on, every class with rows, in any shares; not for em.
    tol, max_iterations: EM stops when no share changes by more than tol, or unconverged after so many passes.
    ValueError when bbse's matrix is singular: predictions then do not tell the classes' shares.

    EM: with p_i the probabilities of row i under the prior p, iterate q_k <- mean_i p_ik q_k/p_k / sum_j p_ij q_j/p_j
    from q = p; each step raises the likelihood of the rows, whose maximum is the only one unless classes are
    indistinguishable. BBSE: with M_jk the share of class k's val rows predicted as j and m_j the share of all rows
    here predicted as j, the q of the simplex that is nearest to solving M q = m, which is exact where that has a
    solution without negative shares.
    Source: Saerens et al. (Neural Computation 2002), section 2.2; Lipton et al. (ICML 2018), section 4, where the
    confusions are joint with the prior of training instead of given the class, and negative shares are cut off.
    """
    logs = log_prior(training_counts(counts, torch.empty(0, dtype=torch.int64), head.num_classes))
    if not len(features):
        raise ValueError("there are no rows; expected at least one to estimate a prior from")
    if method == "em":
        if val is not None:
            raise ValueError("em takes no labelled rows; give no val, or method=bbse")
        prior, iterations, converged = _em(head, features, logs.exp(), tol, max_iterations)
        condition = None
        settings: dict[str, Any] = {"method": method, "tol": tol, "max_iterations": max_iterations}
    elif method == "bbse":
        if val is None:
            raise ValueError("bbse counts confusions on labelled rows; expected val=(features, labels)")
        prior, condition = _bbse(head, features, *val)
        iterations, converged, settings = 0, True, {"method": method}
    else:
        raise ValueError(f"method is {method!r}; expected em or bbse")
    record = {
        "method": "label_shift",
        "hyperparameters": settings,
        "label_shift": {"prior": prior.tolist(), "iterations": iterations, "converged": converged},
    }
    corrected = shifted(head, torch.from_numpy(prior).log() - logs)
    return LabelShift(replace(corrected, record={**lineage(head), **record}), prior, iterations, converged, condition)


def _em(
    head: LinearHead, features: Features, prior: Tensor, tol: float, max_iterations: int
) -> tuple[Floats, int, bool]:
    """The maximum-likelihood shares (K,), the passes it took, and whether the shares came to rest."""
    if not tol > 0:
        raise ValueError(f"tol is {tol}; expected a number above 0, such as 1e-6")
    if not max_iterations >= 1:
        raise ValueError(f"max_iterations is {max_iterations}; expected 1 or more")
    prior = prior.to(head.weight.device)
    probabilities = _probabilities(head, features)
    shares = prior
    for iteration in range(1, max_iterations + 1):
        ratio = (shares / prior).float()
        total = torch.zeros_like(shares)
        for block in probabilities():
            # Nowhere 0: a class that is certain for a row keeps that row's share of the prior.
            total += ((block @ ratio).reciprocal() @ block).double()
        updated = shares / prior * total / len(features)
        updated /= updated.sum()  # it is 1 up to the rounding of float32
        change = float((updated - shares).abs().max())
        shares = updated
        if change <= tol:
            return shares.cpu().numpy(), iteration, True
    return shares.cpu().numpy(), max_iterations, False


def _probabilities(head: LinearHead, features: Features) -> Callable[[], Iterator[Tensor]]:
    """A function that yields the head's probabilities (B, K) in blocks, from memory where they fit."""

    def computed() -> Iterator[Tensor]:
        return (logits.softmax(dim=1) for logits in _logits(head, features))

    if len(features) * head.num_classes > KEEP:
        return computed
    kept = list(computed())
    return lambda: iter(kept)


def _bbse(head: LinearHead, features: Features, val_features: Features, val_labels: Labels) -> tuple[Floats, float]:
    """The shares (K,) and the condition number of the confusion matrix."""
    from scipy.optimize import nnls

    labels = as_labels(val_labels)
    if len(labels) != len(val_features):
        raise ValueError(f"val has {len(labels)} labels for {len(val_features)} rows of features; expected one a row")
    rows = class_counts(labels, head.num_classes)
    if not bool(rows.all()):
        raise ValueError(f"class {int(rows.argmin())} has no rows in val; bbse needs every class there, em none")
    guesses = _decisions(head, val_features)
    known = (labels >= 0).numpy(force=True)
    truth = labels.numpy(force=True)[known]
    confusion = np.zeros((head.num_classes, head.num_classes))
    np.add.at(confusion, (guesses[known], truth), 1.0)
    confusion /= rows.numpy(force=True)
    condition = float(np.linalg.cond(confusion))
    if not condition < CONDITION:
        never = np.flatnonzero(~confusion.any(axis=1))
        why = f"class {never[0]} is never predicted there" if len(never) else f"condition number {condition:.1e}"
        raise ValueError(
            f"the confusion matrix on val is singular ({why}), so predictions do not tell the classes' shares; "
            "use method=em, a balanced head, or more val rows"
        )
    target = np.bincount(_decisions(head, features), minlength=head.num_classes) / len(features)
    exact = np.linalg.solve(confusion, target)
    if (exact >= 0).all():
        return exact / exact.sum(), condition
    # On the simplex |M q - m| = |A q| with A = M - m 1'. Of x = s q the objective below is s^2 |A q|^2 + (s - 1)^2,
    # for the best s a growing function of |A q|: so its minimum, scaled to sum 1, is the nearest q.
    system = np.vstack([confusion - target[:, None], np.ones(len(target))])
    shares, _ = nnls(system, np.append(np.zeros(len(target)), 1.0))
    return shares / shares.sum(), condition


def _decisions(head: LinearHead, features: Features) -> NDArray[np.int64]:
    """The predicted classes (N,)."""
    return torch.cat([logits.argmax(dim=1) for logits in _logits(head, features)]).cpu().numpy()


def _logits(head: LinearHead, features: Features) -> Iterator[Tensor]:
    """The logits (B, K) in blocks; ValueError when one is not finite."""
    for _, block in blocks(features, device=head.weight.device):
        logits = head(block)
        if not bool(torch.isfinite(logits).all()):
            refuse_nonfinite(features)
            refuse_bad_logits(logits)
        yield logits
