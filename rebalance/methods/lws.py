"""LWS: learnable weight scaling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from rebalance.blocks import BLOCK_BYTES, Features, Labels, blocks, product_type, take
from rebalance.head import LinearHead
from rebalance.methods.needs import lineage, need_linear
from rebalance.rows import Rows, need_rows
from rebalance.solving.descent import visit_order
from rebalance.solving.loss import SoftmaxLoss
from rebalance.solving.objective import balanced_weights
from rebalance.solving.recipe import Recipe, RecipeName, chosen, sgd
from rebalance.solving.rescaling import KEEP, Block, RescaledObjective, logit_blocks
from rebalance.solving.solver import minimise
from rebalance.solving.trained import refuse_solver

FEW, FEWEST = 20, 4  # rows of a class that the fast recipe fits on where there are many; with thousands of classes
MANY = 2**24  # logits from which on it does
CLOSE, CLOSE_FEW = 1e-3, 1e-2  # tolerances on all rows and on those

RECIPES = {
    "reference": Recipe(epochs=5, rate=0.2, weight_decay=5e-4, batch=512),
    "reference-places": Recipe(epochs=5, rate=0.1, weight_decay=5e-4, batch=256),
    "reference-inaturalist": Recipe(epochs=5, rate=0.2, weight_decay=1e-4, batch=512),
}


def lws(
    head: LinearHead | None,
    features: Features,
    labels: Labels,
    *,
    weight_decay: float | None = None,
    bias: Literal["scale", "keep"] = "scale",
    recipe: RecipeName = "fast",
    batch: int | None = None,
    tol: float | None = None,
    seed: int = 0,
) -> LinearHead:
    """The joint classifier with one learned factor a class: ``s_k (w_k x + b_k)``.

    head: the joint head; its weight and bias stay as they are up to the factor. features: (N, D) training rows.
    labels: (N,).
    weight_decay: strength of the L2 penalty weight_decay / 2 * |s|^2, which pulls the factors to zero; without it the
    recipe's, 5e-4 (1e-4 for iNaturalist).
    bias: scale it with its class's weight, as the reference's code does, or keep it as it is.
    recipe: fast, to the optimum; or the reference's SGD with its epochs, learning rate and batch for ImageNet-LT
    (reference), Places-LT or iNaturalist 2018.
    batch: rows a step of a reference recipe, whose learning rate is scaled along; without it the recipe's.
    tol: solve on all rows in float32, until the gradient has fallen to this share of its size at zero. Without it to
    1e-3; but where there are many logits on at most 20 rows of a class (fewer, down to 4, with thousands of classes) to
    1e-2, in bfloat16 products where the processor has them.
    seed: of the order of the rows in a reference recipe, and of the draw of those 20.
    ValueError when all weights are zero: no factor changes anything.
    A class without rows keeps a factor that only makes it lose.

    The factors start at one and minimise the class-balanced cross-entropy; the problem is convex, so the minimum is
    found without a learning rate. A class has one parameter here, which 20 rows determine well: on 115,846 rows of
    1,000 classes the objective on all of them ended up 0.002 above the minimum, the reference's SGD 0.003.
    Source: Kang et al. (ICLR 2020), section 4.
    """
    head = need_linear(head, "lws")
    settings = chosen(RECIPES, recipe, batch, tol=tol, visits=None, start=None)
    decay = weight_decay if weight_decay is not None else (settings or RECIPES["reference"]).weight_decay
    refuse_solver(decay, tol, None, seed)
    _check(head, bias)
    rows = need_rows(head, features, labels)
    here = head.to(rows.device)
    if settings is None:
        scales, solver = _optimum(here, rows, decay, bias, tol, seed)
    else:
        scales, solver = _reference(here, rows, settings, decay, bias, seed)
    hyperparameters = {
        "weight_decay": weight_decay, "bias": bias, "recipe": recipe, "batch": batch, "tol": tol, "seed": seed
    }  # fmt: skip
    record = {"method": "lws", "hyperparameters": hyperparameters, "solver": {**solver, "recipe": recipe}}
    scaled = here.bias * scales if bias == "scale" else here.bias
    return LinearHead(here.weight * scales[:, None], scaled, record={**lineage(head), **record})


def _check(head: LinearHead, bias: str) -> None:
    if bias not in ("scale", "keep"):
        raise ValueError(f"bias is {bias!r}; expected scale or keep")
    if not bool(head.weight.any()):
        raise ValueError("all weights of the head are 0: lws has nothing to scale; give a trained head")


def _scaled_part(head: LinearHead, bias: str) -> tuple[LinearHead, SoftmaxLoss]:
    """The head whose logits the factors multiply, and the loss, which adds what they do not."""
    if bias == "scale":
        return head, SoftmaxLoss()
    return LinearHead(head.weight), SoftmaxLoss(offsets=head.bias)


def _optimum(
    head: LinearHead, rows: Rows, decay: float, bias: str, tol: float | None, seed: int
) -> tuple[Tensor, dict[str, object]]:
    inner, loss = _scaled_part(head, bias)
    # With many classes fewer rows each: their logits grow with the square of the classes.
    some = rows.counts.clamp_max(min(FEW, max(FEWEST, 4 * KEEP // head.num_classes**2)))
    sampled = tol is None and len(rows.whole) * head.num_classes > MANY and bool((some < rows.counts).any())
    if sampled:
        (stream, labels), counts = _sample(inner, rows, some, seed), some
    else:
        stream, labels, counts = logit_blocks(inner, rows.features), rows.labels, rows.counts
    objective = RescaledObjective(
        stream,
        labels,
        balanced_weights(labels, counts),
        num_classes=head.num_classes,
        factors=head.num_classes,
        offsets=0,
        pull=torch.zeros(head.num_classes, device=rows.device),
        decay=decay,
        loss=loss,
    )
    start = torch.ones(head.num_classes, device=rows.device)
    solution = minimise(
        objective, start, tol=tol or (CLOSE_FEW if sampled else CLOSE), precondition=objective.preconditioner(start)
    )
    used = {"rows": int(counts.sum()), "products": str(product_type(rows.device) if sampled else torch.float32)[6:]}
    return solution.parameters, {**solution.summary(), **used}


def _sample(head: LinearHead, rows: Rows, quota: Tensor, seed: int) -> tuple[Callable[[], Iterator[Block]], Tensor]:
    """A function that yields the logits of this rank's part of so many rows (K,) of every class, and their labels (M,).

    The logits are kept from pass to pass where they fit, and made again where they do not.
    """
    order = visit_order(rows.whole, quota, visits=int(quota.sum()), seed=seed)
    mine = rows.mine(order.sort().values)
    kind = product_type(rows.device)
    weight = head.weight.to(kind)
    step = max(1, BLOCK_BYTES // (4 * max(head.weight.shape)))

    def made() -> Iterator[Block]:
        for start in range(0, len(mine), step):
            x = take(rows.features, mine[start : start + step]).to(rows.device, kind)
            yield slice(start, start + len(x)), (x @ weight.T).float().add_(head.bias)

    labels = rows.labels[mine.to(rows.device)]
    if len(mine) * head.num_classes > KEEP:
        return made, labels
    logits = torch.empty((len(mine), head.num_classes), device=rows.device)
    for part, block in made():
        logits[part] = block
    return partial(blocks, logits), labels


def _reference(
    head: LinearHead, rows: Rows, settings: Recipe, decay: float, bias: str, seed: int
) -> tuple[Tensor, dict[str, object]]:
    inner, loss = _scaled_part(head, bias)
    loss = loss.to(rows.device)

    def gradients(parameters: list[Tensor], batch: Tensor) -> list[Tensor]:
        z = inner(take(rows.features, batch).to(rows.device))
        labels = rows.labels[batch.to(rows.device)]
        _, g = loss(z * parameters[0], labels, torch.ones(len(z), device=rows.device))
        return [(g * z).sum(dim=0)]

    start = [torch.ones(head.num_classes, device=rows.device)]
    (scales,), solver = sgd(rows, settings, gradients, start, weight_decay=decay, seed=seed)
    return scales, solver
