"""The reference's recipes, with its settings for ImageNet-LT, on features in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from speed import reference
from torch import Tensor
from torch.nn.functional import normalize

from comparing.questions import SEED
from comparing.sides.arrays import Arrays
from comparing.sides.fitted import FLOOR, Fit, Fitted

open_data = Arrays


def _tensors(pair: tuple[NDArray[Any], NDArray[Any]]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pair[0]), torch.from_numpy(pair[1])


def _linear(weight: Tensor, bias: Tensor, note: str = "") -> Fitted:
    def predict(features: NDArray[np.float32]) -> NDArray[np.float32]:
        return torch.log_softmax(torch.addmm(bias, torch.from_numpy(features), weight.T), dim=1).numpy()

    return Fitted(predict, note)


def _refuse_few(labels: Tensor) -> None:
    if len(labels) < reference.BATCH:
        raise ValueError(f"{len(labels)} training rows are fewer than its batch of {reference.BATCH}: it makes no step")


def crt(data: Arrays) -> Fit:
    """A fresh classifier, class-balanced batches."""
    features, labels = _tensors(data.train)
    _refuse_few(labels)
    return lambda: _linear(*reference.crt(features, labels, data.classes, seed=SEED))


def lws(data: Arrays) -> Fit:
    """A factor a class, class-balanced batches."""
    (features, labels), (weight, bias) = _tensors(data.train), _tensors(data.head)
    _refuse_few(labels)

    def fit() -> Fitted:
        scales = reference.lws(weight, bias, features, labels, seed=SEED)
        return _linear(weight * scales[:, None], bias * scales)

    return fit


def tau(data: Arrays) -> Fit:
    """The best of 21 powers on val; the bias is dropped."""
    (features, labels), (weight, bias) = _tensors(data.val), _tensors(data.head)

    def fit() -> Fitted:
        values = reference.tau_grid(weight, features, labels)
        best = max(values, key=lambda each: values[each])
        norms = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        return _linear(weight / norms**best, torch.zeros_like(bias), f"tau {best:g}")

    return fit


def ncm(data: Arrays) -> Fit:
    """Class means of centred rows of length one (its cl2n), Euclidean distance."""
    features, labels = _tensors(data.train)

    def fit() -> Fitted:
        center = features.mean(dim=0)
        unit = normalize(features - center)
        means = torch.stack([unit[labels == c].mean(dim=0) for c in range(data.classes)])
        return Fitted(lambda test: _distances(normalize(torch.from_numpy(test) - center), means))

    return fit


def _distances(rows: Tensor, means: Tensor) -> NDArray[np.float32]:
    """Log-probabilities (N, K) from negative squared distances; the mean of a class without rows is NaN."""
    logits = 2 * rows @ means.T - means.square().sum(dim=1)
    return torch.log_softmax(logits.nan_to_num(FLOOR), dim=1).numpy()


FITS: dict[str, Callable[[Arrays], Fit]] = {
    "cRT, 10 epochs of SGD": crt,
    "LWS, 5 epochs of SGD": lws,
    "tau, grid of 21": tau,
    "NCM": ncm,
}
