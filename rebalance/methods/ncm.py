"""Nearest class mean."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, Labels, blocks
from rebalance.head import LinearHead, NormalizedHead, normalize
from rebalance.rows import Rows, need_rows

ABSENT = -1e30  # the bias of a class without a mean: never chosen, finite so that softmax and files stay sane


def ncm(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    transform: Literal["un", "l2n", "cl2n"] = "cl2n",
    distance: Literal["l2", "dot", "cosine"] = "l2",
) -> LinearHead:
    """Each row to the class whose mean feature is nearest.

    head: gives the number of classes; may be None. features: (N, D) training rows. labels: (N,).
    transform: what is done to features first: un nothing, l2n length one, cl2n centred by the training mean and then
    length one. The class means are taken after it and not scaled again.
    distance: Euclidean (l2), dot the inner product with the class mean (the reference's "cos"), cosine the true cosine.
    A class without rows has no mean and is never predicted.

    The squared distance to a mean c is |x|^2 - 2 x.c + |c|^2; |x|^2 is the same for every class, so the head is
    weight = 2c, bias = -|c|^2: linear for un, a NormalizedHead otherwise.
    Source: Kang et al. (ICLR 2020), section 4. The reference's "cos" divides the inner product by D besides, which
    changes no decision.
    """
    for name, value, known in (
        ("transform", transform, ("un", "l2n", "cl2n")),
        ("distance", distance, ("l2", "dot", "cosine")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected {', '.join(known)}")
    rows = need_rows(head, features, labels)
    center = rows.mean.float() if transform == "cl2n" else torch.zeros_like(rows.mean, dtype=torch.float32)
    means = _means(rows, center, transform)
    present = rows.counts > 0
    if distance == "l2":
        weight, bias = 2 * means, -means.square().sum(dim=1)
    else:
        weight, bias = (normalize(means) if distance == "cosine" else means), means.new_zeros(len(means))
    bias = torch.where(present, bias, ABSENT).float()
    hyperparameters = {"transform": transform, "distance": distance}
    record = {"method": "ncm", "hyperparameters": hyperparameters, "absent_classes": int((~present).sum())}
    if transform == "un" and distance != "cosine":
        return LinearHead(weight.float(), bias, record=record)
    return NormalizedHead(weight.float(), bias, record=record, center=center)


def _means(rows: Rows, center: Tensor, transform: str) -> Tensor:
    """Class means (K, D) of the transformed features, in float64; zeros for a class without rows."""
    sums = rows.sums
    if transform != "un":
        sums = torch.zeros((len(sums) + 1, sums.shape[1]), dtype=torch.float64, device=rows.device)
        slots = torch.where(rows.labels >= 0, rows.labels, len(sums) - 1)
        for part, block in blocks(rows.features, device=rows.device):
            sums.index_add_(0, slots[part], normalize(block - center).double())
        ranks.total(sums)
        sums = sums[:-1]
    return sums / rows.counts.clamp_min(1)[:, None]
