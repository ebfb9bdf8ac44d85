"""cRT: classifier re-training."""

from __future__ import annotations

import torch
from torch import Tensor

from rebalance.blocks import Features, Labels, take
from rebalance.head import LinearHead
from rebalance.rows import Rows, need_rows
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.recipe import Recipe, RecipeName, chosen, sgd
from rebalance.solving.trained import refuse_solver, train

RECIPES = {
    "reference": Recipe(epochs=10, rate=0.2, weight_decay=5e-4, batch=512),
    "reference-places": Recipe(epochs=10, rate=0.1, weight_decay=5e-4, batch=256),
    "reference-inaturalist": Recipe(epochs=30, rate=0.2, weight_decay=1e-4, batch=512),
}


def crt(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    weight_decay: float | None = None,
    recipe: RecipeName = "fast",
    batch: int | None = None,
    tol: float | None = None,
    visits: int | None = None,
    seed: int = 0,
    start: LinearHead | None = None,
) -> LinearHead:
    """A fresh linear classifier, trained with every class weighing the same.

    head: gives the number of classes; its weights are not used (re-initialised, as in the paper); may be None.
    features: (N, D) training rows. labels: (N,).
    weight_decay: strength of the L2 penalty weight_decay / 2 * |weight|^2 on the mean loss; without it the
    recipe's, 5e-4 (1e-4 for iNaturalist).
    recipe: fast; or the reference's SGD with its epochs, learning rate and batch for ImageNet-LT (reference),
    Places-LT or iNaturalist 2018.
    batch: rows a step of a reference recipe, whose learning rate is scaled along; without it the recipe's.
    tol: run on to the optimum, until the gradient has fallen to this share of its size at the start. Below about 1e-4
    the rounding of float32 logits ends the search first; the record then says so.
    visits: rows that the fast recipe visits; without it as many as there are, at least 102,400. Fewer regularise, like
    a stronger decay.
    seed: of the order of the visits, and of the first weights of a reference recipe.
    start: a head to begin at instead of zeros (not for a reference recipe).
    A class without rows is pushed away from by all others and loses to them. The record holds what the solver did.

    The fast recipe is one pass of stochastic descent on centred features, in bfloat16 products where the processor has
    them; a problem so small that its optimum takes about a second is solved to it instead. Class-balanced sampling is,
    in expectation, a row weight 1 / (C n_y), and with fixed features the loss is convex: so `tol` finds its minimum
    without sampling, learning rate or seed. There and in the fast recipe the bias is free; the reference decays it.
    Source: Kang et al. (ICLR 2020), section 4.
    """
    settings = chosen(RECIPES, recipe, batch, tol=tol, visits=visits, start=start)
    decay = weight_decay if weight_decay is not None else (settings or RECIPES["reference"]).weight_decay
    refuse_solver(decay, tol, visits, seed)
    rows = need_rows(head, features, labels)
    if settings is None:
        shares = torch.ones(len(rows.counts), device=rows.device)
        weight, bias, solver = train(
            rows, shares, SoftmaxLoss(), weight_decay=decay, tol=tol, visits=visits, seed=seed, start=start
        )
    else:
        weight, bias, solver = _reference(rows, settings, decay, seed)
        solver["recipe"] = recipe
    hyperparameters = {
        "weight_decay": weight_decay, "recipe": recipe, "batch": batch, "tol": tol, "visits": visits, "seed": seed
    }  # fmt: skip
    return LinearHead(weight, bias, record={"method": "crt", "hyperparameters": hyperparameters, "solver": solver})


def _reference(rows: Rows, settings: Recipe, decay: float, seed: int) -> tuple[Tensor, Tensor, dict[str, object]]:
    """The reference's loop from its first weights, those of nn.Linear: uniform within 1 / sqrt(D)."""
    classes, width = rows.sums.shape
    draw = torch.Generator().manual_seed(seed)
    bound = width**-0.5
    start = [
        ((2 * torch.rand(*shape, generator=draw) - 1) * bound).to(rows.device)
        for shape in ((classes, width), (classes,))
    ]
    loss = SoftmaxLoss()

    def gradients(parameters: list[Tensor], batch: Tensor) -> list[Tensor]:
        weight, bias = parameters
        x = take(rows.features, batch).to(rows.device)
        labels = rows.labels[batch.to(rows.device)]
        _, g = loss(torch.addmm(bias, x, weight.T), labels, torch.ones(len(x), device=rows.device))
        return [g.T @ x, g.sum(dim=0)]

    (weight, bias), solver = sgd(rows, settings, gradients, start, weight_decay=decay, seed=seed)
    return weight, bias, solver
