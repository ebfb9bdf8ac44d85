"""The reference's training loop, for who must reproduce the paper: SGD with class-balanced sampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from rebalance import ranks
from rebalance.rows import Rows
from rebalance.sampling import class_balanced

RecipeName = Literal["fast", "reference", "reference-places", "reference-inaturalist"]


@dataclass(frozen=True)
class Recipe:
    """The numbers of a configuration file of the reference; the learning rate is for the batch size."""

    epochs: int
    rate: float
    weight_decay: float
    batch: int


def sgd(
    rows: Rows,
    recipe: Recipe,
    gradients: Callable[[list[Tensor], Tensor], list[Tensor]],
    start: list[Tensor],
    *,
    weight_decay: float,
    seed: int,
) -> tuple[list[Tensor], dict[str, Any]]:
    """The trained parameters and what to record of the run.

    rows: the training rows. gradients: ``gradients(parameters, batch)`` adds up the gradients of the losses of some
    of this rank's rows (not their mean). start: the parameters to begin at; every one of them decays.

    As the reference: momentum 0.9, floor(N / batch) steps an epoch, the sampler's cycles going on across epochs, and
    a cosine from the full rate to 0 that moves once an epoch (the first epoch at the full rate, as with the PyTorch of
    its time; newer ones begin a step later).
    """
    parameters = [each.clone().requires_grad_(True) for each in start]
    optimiser = torch.optim.SGD(parameters, lr=recipe.rate, momentum=0.9, weight_decay=weight_decay)
    labelled = int(rows.counts.sum())
    steps = max(1, labelled // recipe.batch)
    sampler = class_balanced(rows.whole, epochs=recipe.epochs, seed=seed)
    for epoch in range(recipe.epochs):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))
        order = torch.tensor(list(islice(sampler, steps * recipe.batch)))
        for batch in torch.split(order, recipe.batch):
            found = gradients([each.detach() for each in parameters], rows.mine(batch))
            ranks.total(*found)
            for each, gradient in zip(parameters, found, strict=True):
                each.grad = gradient / len(batch)
            optimiser.step()
    summary = {"epochs": recipe.epochs, "rate": recipe.rate, "batch": recipe.batch, "steps": steps * recipe.epochs}
    return [each.detach() for each in parameters], {**summary, "seed": seed}


def chosen(
    recipes: dict[str, Recipe],
    name: str,
    batch: int | None,
    *,
    tol: float | None,
    visits: int | None,
    start: object,
) -> Recipe | None:
    """The named recipe with the batch asked for, its rate scaled along; None for the fast one.

    ValueError when there is no such recipe or another argument contradicts it.
    """
    if name != "fast" and name not in recipes:
        raise ValueError(f"recipe is {name!r}; expected fast, {', '.join(recipes)}")
    if batch is not None and not (isinstance(batch, int) and batch >= 1):
        raise ValueError(f"batch is {batch}; expected a whole number of rows, 1 or more, or None")
    if name == "fast":
        if batch is not None:
            raise ValueError(f"batch is {batch}, but recipe is fast, which chooses its own; give a reference recipe")
        return None
    if tol is not None or visits is not None or start is not None:
        raise ValueError(f"recipe is {name}: it ends after its epochs and begins anew; give no tol, visits or start")
    recipe = recipes[name]
    if batch is None:
        return recipe
    return replace(recipe, batch=batch, rate=recipe.rate * batch / recipe.batch)
