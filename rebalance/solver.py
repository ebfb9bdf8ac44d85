"""The minimiser under every trained head: L-BFGS on the whole objective, deterministic, on the parameters' device.

The objectives are convex, so there is one minimum and no seed: the same rows give the same head, bit for bit on one
device and thread count. PyTorch's L-BFGS with its strong-Wolfe line search does the steps; what is ours is when to
stop, and an honest report of how far it came.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from rebalance.objective import Objective


@dataclass(frozen=True)
class Solution:
    """Where the solver stopped.

    parameters: like the start. objective: the value there. gradient: the gradient's largest entry, as a share of the
    larger of those at zero and at the start. passes: how often all rows were read. converged: whether `gradient` came
    down to the tolerance.
    """

    parameters: Tensor
    objective: float
    gradient: float
    passes: int
    converged: bool

    def summary(self) -> dict[str, Any]:
        """Everything but the parameters, for a head's record."""
        entries = asdict(self)
        del entries["parameters"]
        return entries


def minimise(objective: Objective, start: Tensor, *, tol: float, max_passes: int = 500) -> Solution:
    """The minimum of a convex objective.

    objective: value and gradient of a flat parameter vector.
    start: (P,), where to begin; the result lies on its device.
    tol: above 0; stop when the gradient's largest entry has fallen to `tol` times that at zero, or at the
    start if that is larger. Zero counts too, for a start that is nearly the minimum has no gradient left to lose.
    max_passes: give up (converged=False) after this many evaluations.
    ValueError when tol is out of range or the objective is not finite at the start.
    """
    if not tol > 0:
        raise ValueError(f"tol is {tol}; expected a number above 0, such as 1e-3")
    parameters = start.clone().requires_grad_(True)
    passes = 0
    scale = 0.0
    for point in (torch.zeros_like(start), start) if bool(start.any()) else (start,):
        value, gradient = objective(point)
        passes += 1
        if not bool(torch.isfinite(value)) or not bool(torch.isfinite(gradient).all()):
            raise ValueError(
                "the objective is not finite at the start: the features hold NaN, infinity or huge numbers"
            )
        scale = max(scale, float(gradient.abs().max()))
    if float(gradient.abs().max()) > tol * scale:
        optimiser = torch.optim.LBFGS(
            [parameters],
            max_iter=max_passes,
            max_eval=max_passes,
            tolerance_grad=tol * scale,
            tolerance_change=0.0,  # stop for the gradient alone: a small step is no proof of a minimum
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            nonlocal passes, value, gradient
            value, gradient = objective(parameters.detach())
            parameters.grad = gradient
            passes += 1
            return value

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        value, gradient = objective(parameters.detach())
        passes += 1
    relative = float(gradient.abs().max()) / scale if scale > 0 else 0.0
    return Solution(parameters.detach(), float(value), relative, passes, relative <= tol)
