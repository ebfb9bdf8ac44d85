"""The reference's algorithms on cached features, stated again in a few lines: what the heads are measured against.

They get float32 features that lie in memory, and index arrays where the reference has a data loader.
Source: Kang et al. (ICLR 2020) and its code's settings for ImageNet-LT: SGD, momentum 0.9, weight decay 5e-4, batch
512, learning rate 0.2 falling as a cosine from epoch to epoch, the first epoch at the full rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

BATCH = 512
RATE = 0.2
DECAY = 5e-4
TAUS = [i / 10 for i in range(21)]
ROWS_A_VISIT = 4

Order = NDArray[np.int64]


def instance_balanced(labels: Tensor, rng: np.random.Generator) -> Iterator[Order]:
    """The rows of one epoch after another: every row once."""
    while True:
        yield rng.permutation(len(labels))


def class_aware(labels: Tensor, rng: np.random.Generator) -> Iterator[Order]:
    """The rows of one epoch after another: classes in a permutation cycle, 4 rows of each from its own cycle."""

    def cycle(items: Order) -> Iterator[int]:
        while True:
            yield from rng.permutation(items).tolist()

    own = labels.cpu().numpy()
    members = {int(c): cycle(np.flatnonzero(own == c)) for c in np.unique(own)}
    classes = cycle(np.array(list(members)))

    def visits() -> Iterator[int]:
        for c in classes:
            for _ in range(ROWS_A_VISIT):
                yield next(members[c])

    rows = visits()
    while True:
        yield np.fromiter(rows, np.int64, len(own))


def sgd(model: nn.Module, features: Tensor, labels: Tensor, orders: Iterator[Order], *, epochs: int) -> None:
    """Train the model's parameters; an epoch is floor(N / batch) steps."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimiser = torch.optim.SGD(parameters, lr=RATE, momentum=0.9, weight_decay=DECAY)
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * epoch / epochs)) / 2
        order = torch.from_numpy(next(orders)).to(labels.device)
        for start in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            optimiser.zero_grad()
            cross_entropy(model(features[rows].float()), labels[rows]).backward()
            optimiser.step()


def _head(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    return linear.weight.detach(), linear.bias.detach()


def _fresh(features: Tensor, classes: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(features.shape[1], classes).to(features.device)


def joint_head(features: Tensor, labels: Tensor, classes: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Weight and bias after 4 epochs of instance-balanced SGD."""
    model = _fresh(features, classes, seed)
    sgd(model, features, labels, instance_balanced(labels, np.random.default_rng(seed)), epochs=4)
    return _head(model)


def crt(features: Tensor, labels: Tensor, classes: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """cRT: a fresh classifier, 10 epochs of class-balanced SGD; its weight and bias."""
    model = _fresh(features, classes, seed)
    sgd(model, features, labels, class_aware(labels, np.random.default_rng(seed)), epochs=10)
    return _head(model)


class Scaled(nn.Module):
    """The joint head with a learned factor a class: s (W x + b)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self.scales = nn.Parameter(torch.ones_like(bias))

    def forward(self, features: Tensor) -> Tensor:
        return self.scales * linear(features, self.weight, self.bias)


def lws(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor, *, seed: int) -> Tensor:
    """LWS: 5 epochs of class-balanced SGD on one factor a class (K,), which start at one."""
    model = Scaled(weight, bias)
    sgd(model, features, labels, class_aware(labels, np.random.default_rng(seed)), epochs=5)
    return model.scales.detach()


def tau_grid(weight: Tensor, features: Tensor, labels: Tensor) -> dict[float, float]:
    """Balanced accuracy at every tau of the grid: 21 times normalise, multiply, decide."""

    def decide(tau: float) -> Tensor:
        norms = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        return (features @ (weight / norms**tau).T).argmax(dim=1)

    return _on_grid(decide, labels)


def tau_grid_of_logits(weight: Tensor, features: Tensor, labels: Tensor) -> dict[float, float]:
    """The same from one product, rescaled 21 times: what the reference could have done."""
    logits = features @ weight.T
    norms = torch.linalg.vector_norm(weight, dim=1)
    return _on_grid(lambda tau: (logits / norms**tau).argmax(dim=1), labels)


def _on_grid(decide: Callable[[float], Tensor], labels: Tensor) -> dict[float, float]:
    return {tau: balanced(decide(tau), labels) for tau in TAUS}


def balanced(decisions: Tensor, labels: Tensor) -> float:
    """Mean recall over the classes that have rows."""
    rows = torch.bincount(labels)
    right = torch.bincount(labels[decisions == labels], minlength=len(rows))
    return float((right.double() / rows)[rows > 0].mean())
