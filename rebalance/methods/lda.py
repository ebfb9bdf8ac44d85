"""LDA: Gaussian classes that share one covariance."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, Labels, blocks
from rebalance.head import LinearHead
from rebalance.methods.ncm import ABSENT
from rebalance.rows import Rows, need_rows

PANEL = 512  # columns of the covariance computed at once: wide enough for the product, narrow enough to skip the mirror
SINGULAR = 2e-6  # a column this close to a sum of others is one of them: float32 products err by about 1e-6


def lda(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    shrinkage: float | Literal["oas"] = "oas",
    prior: Literal["uniform", "empirical"] = "uniform",
) -> LinearHead:
    """The linear classifier that is best if every class is a Gaussian around its mean, all of one covariance.

    head: gives the number of classes; may be None. features: (N, D) training rows. labels: (N,).
    shrinkage: how far the covariance S is pulled to a sphere, (1 - shrinkage) S + shrinkage tr(S)/D I: 0 not at all,
    1 all the way (the nearest class mean), oas the share that Chen et al. derive for Gaussian rows.
    prior: of the classes where the head is used, and their shares in S: uniform, or empirical, the training shares.
    ValueError when S is singular (fewer rows than columns, a constant column) and shrinkage leaves it so.
    A class without rows is never predicted. Where every class repeats one row, S is 0 and oas takes the sphere.

    With P the inverse of the shrunk S and c_k the mean of class k from that of all rows, m: weight = P c_k, bias =
    -c_k.P c_k / 2 - m.P c_k (+ log prior). Measuring from m adds one number to all logits of a row and keeps digits.
    S is the mean over the prior of the classes' covariances, as in LinearDiscriminantAnalysis of scikit-learn with its
    lsqr solver: under the uniform one the rare classes' spread counts like that of the others. Classes of one row have
    none and are left out of it.
    Source: Hastie, Tibshirani and Friedman (The Elements of Statistical Learning), section 4.3; shrinkage: Chen et
    al. (IEEE Transactions on Signal Processing 2010), equation 23 without its terms in 2/D, as scikit-learn has it; N
    there is the number of rows that, all weighing the same, would average as well (Kish, 1965).
    """
    if shrinkage != "oas" and not (isinstance(shrinkage, int | float) and 0 <= shrinkage <= 1):
        raise ValueError(f"shrinkage is {shrinkage!r}; expected a number from 0 to 1, or oas")
    if prior not in ("uniform", "empirical"):
        raise ValueError(f"prior is {prior!r}; expected uniform or empirical")
    rows = need_rows(head, features, labels, exact=True)
    means = rows.sums / rows.counts.clamp_min(1)[:, None]
    total = int(rows.counts.sum())
    present = rows.counts > 0
    spread = torch.where(rows.counts > 1, rows.counts if prior == "empirical" else 1, 0).double()
    spread /= spread.sum().clamp_min(1)  # every class's part of S; a single row says nothing of it
    weights = spread / rows.counts.clamp_min(1)  # of a row of each class
    covariance = _scatter(rows, means, weights)
    alike = 1 / float((spread * weights).sum().clamp_min(1 / total))
    share = _oas(covariance, alike) if shrinkage == "oas" else float(shrinkage)
    from_mean = torch.where(present[:, None], means - rows.mean, 0.0)
    weight = _solve(covariance, from_mean, share, rank=total - int(present.sum()))
    bias = -0.5 * (from_mean * weight).sum(dim=1) - weight @ rows.mean
    if prior == "empirical":
        bias = bias + torch.log(rows.counts / total)
    record = {
        "method": "lda",
        "hyperparameters": {"shrinkage": shrinkage, "prior": prior},
        "shrinkage": share,
        "absent_classes": int((~present).sum()),
    }
    return LinearHead(weight.float(), torch.where(present, bias, ABSENT).float(), record=record)


def _scatter(rows: Rows, means: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum over labelled rows of (x - its class mean)(x - its class mean)', (D, D) in float64.

    Rows are centred before they are multiplied, so that float32 products lose no digits to the means.
    means: (K, D). weights: (K,), of a row of each class.
    """
    centers, roots = means.float(), weights.sqrt().float()
    wide = means.shape[1]
    scatter = torch.zeros((wide, wide), dtype=torch.float64, device=rows.device)
    for part, block in blocks(rows.features, device=rows.device):
        own = rows.labels[part]
        known, own = own >= 0, own.clamp_min(0)
        block = torch.where(known[:, None], (block - centers[own]) * roots[own][:, None], 0.0)
        for left in range(0, wide, PANEL):
            scatter[left:, left : left + PANEL] += block[:, left:].T @ block[:, left : left + PANEL]
    ranks.total(scatter)
    if not bool(torch.isfinite(scatter).all()):
        raise ValueError("features differ by more than 1e18: their squares leave float32; scale them down")
    return torch.tril(scatter) + torch.tril(scatter, -1).T


def _oas(covariance: Tensor, rows: float) -> float:
    """The oracle-approximating shrinkage of a covariance (D, D) of this many rows."""
    columns = len(covariance)
    mean_square = covariance.square().mean()
    sphere = covariance.diagonal().mean().square()
    above = (rows + 1) * (mean_square - sphere / columns)
    return float(torch.where(above > 0, (mean_square + sphere) / above, 1.0).clamp_max(1.0))


def _solve(covariance: Tensor, from_mean: Tensor, share: float, *, rank: int) -> Tensor:
    """``from_mean`` (K, D) times the inverse of the shrunk covariance; ValueError when that is singular.

    covariance: (D, D). share: of the sphere. rank: the covariance's at most.
    """
    size = covariance.diagonal().mean()
    if share == 1 and float(size) == 0:
        size = torch.ones_like(size)  # no row differs from its class mean: a sphere of any size decides alike
    shrunk = (1 - share) * covariance
    shrunk.diagonal().add_(share * size)
    factor, failed = torch.linalg.cholesky_ex(shrunk)
    # The squared pivot is the column's variance that those before it do not explain.
    unexplained = factor.diagonal().square()
    flat = rank < len(covariance) or bool((unexplained <= SINGULAR * covariance.diagonal()).any())
    if int(failed) or (share == 0 and flat):
        raise ValueError(
            f"the covariance is singular with shrinkage {share:g}: a column is constant or a sum of others, or there "
            "are too few rows; expected a larger shrinkage, such as 1e-3, or oas"
        )
    return torch.cholesky_solve(from_mean.T, factor).T
