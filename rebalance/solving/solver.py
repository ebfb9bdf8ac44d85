"""The minimiser under every trained head: preconditioned L-BFGS on the whole objective, deterministic.

The convex objectives have one minimum and need no seed: the same rows give the same head, bit for bit on one CPU,
thread count and library version (CUDA adds up a class's rows in any order). Ours rather than torch.optim.LBFGS because
that one neither takes a preconditioner nor a first step of the right length: without a preconditioner this one takes
two to six times the passes over the rows.

Source: Nocedal and Wright, Numerical Optimization (2nd edition), algorithms 7.4 (two-loop recursion) and 3.5/3.6
(strong Wolfe line search by bracketing, then cubic interpolation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from rebalance.solving.objective import Objective

HISTORY = 10  # pairs of steps and gradient changes that are kept
DECREASE, CURVATURE = 1e-4, 0.9  # the constants of the strong Wolfe conditions
ROUNDING = 1e-7  # values nearer than this part of them are the same: near the minimum only the slope tells more
SEARCHES = 20  # evaluations in one line search before it gives up


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


@dataclass(frozen=True)
class _Point:
    """The objective at one place of a line: how far along, the parameters, value, gradient, slope along the line."""

    step: float
    parameters: Tensor
    value: float
    gradient: Tensor
    slope: float


def minimise(
    objective: Objective,
    start: Tensor,
    *,
    tol: float,
    max_passes: int = 500,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> Solution:
    """The minimum of a convex objective (a stationary point of one that is not).

    objective: value and gradient of a flat parameter vector.
    start: (P,), where to begin; the result lies on its device.
    tol: above 0; stop when the gradient's largest entry has fallen to `tol` times that at zero, or at the
    start if that is larger. Zero counts too, for a start that is nearly the minimum has no gradient left to lose.
    max_passes: give up (converged=False) after this many evaluations.
    precondition: applies an approximate inverse of the Hessian; without it the gradient's length sets the first step.
    ValueError when tol is out of range or the objective is not finite at the start.
    """
    if not tol > 0:
        raise ValueError(f"tol is {tol}; expected a number above 0, such as 1e-3")
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
    here = _Point(0.0, start, float(value), gradient, 0.0)
    memory = _Memory(precondition)
    while float(here.gradient.abs().max()) > tol * scale and passes < max_passes:
        found, used = _line_search(objective, here, memory.direction(here.gradient), max_passes - passes)
        passes += used
        if found is None:
            if not memory.pairs:
                break  # not even straight down the objective falls: what is left is rounding
            memory.pairs.clear()
            continue
        memory.learn(found.parameters - here.parameters, found.gradient - here.gradient)
        here = found
    relative = float(here.gradient.abs().max()) / scale if scale > 0 else 0.0
    return Solution(here.parameters, here.value, relative, passes, relative <= tol)


class _Memory:
    """The last steps and gradient changes: together with the preconditioner, an inverse of the Hessian."""

    def __init__(self, precondition: Callable[[Tensor], Tensor] | None) -> None:
        self.pairs: list[tuple[Tensor, Tensor, float]] = []
        self._precondition = precondition
        self._scale = 1.0

    def learn(self, step: Tensor, change: Tensor) -> None:
        """Keep a pair, if the objective curved upwards along it."""
        curvature = _dot(step, change)
        if curvature <= 1e-10 * _dot(step, step) ** 0.5 * _dot(change, change) ** 0.5:
            return
        self.pairs = [*self.pairs, (step, change, 1.0 / curvature)][-HISTORY:]
        self._scale = curvature / _dot(change, self._first(change))

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse Hessian times the gradient."""
        out = gradient.clone()
        factors = []
        for step, change, inverse in reversed(self.pairs):
            factor = inverse * _dot(step, out)
            out.add_(change, alpha=-factor)
            factors.append(factor)
        out = self._first(out)
        if self.pairs:
            out = out.mul_(self._scale)
        elif self._precondition is None:
            out = out / max(float(gradient.abs().sum()), torch.finfo(torch.float32).tiny)
        for (step, change, inverse), factor in zip(self.pairs, reversed(factors), strict=True):
            out.add_(step, alpha=factor - inverse * _dot(change, out))
        return out.neg_()

    def _first(self, vector: Tensor) -> Tensor:
        return vector.clone() if self._precondition is None else self._precondition(vector)


def _line_search(objective: Objective, here: _Point, direction: Tensor, budget: int) -> tuple[_Point | None, int]:
    """A point along the direction that satisfies the strong Wolfe conditions, and the evaluations it took.

    None when there is none to be found within the budget, other than for rounding: then the best point that is lower.
    """
    slope = _dot(here.gradient, direction)
    if not slope < 0:
        return None, 0
    origin = low = _Point(0.0, here.parameters, here.value, here.gradient, slope)
    high: _Point | None = None
    step, used = 1.0, 0
    while used < min(SEARCHES, budget):
        point = _at(objective, origin, direction, step)
        used += 1
        falls = point.value <= origin.value + DECREASE * step * slope and (low is origin or point.value < low.value)
        near = abs(point.value - origin.value) <= ROUNDING * abs(origin.value)
        if (falls or near) and abs(point.slope) <= -CURVATURE * slope:
            return point, used
        if falls and point.slope < 0 and high is None:
            low, step = point, 4.0 * step
            continue
        if not falls:
            high = point
        elif high is None or point.slope * (high.step - low.step) >= 0:
            low, high = point, low
        else:
            low = point
        step = _between(low, high)
        if abs(high.step - low.step) <= 1e-7 * max(high.step, low.step):
            break
    return (low if low.step > 0 and low.value < origin.value else None), used


def _at(objective: Objective, origin: _Point, direction: Tensor, step: float) -> _Point:
    parameters = origin.parameters.add(direction, alpha=step)
    value, gradient = objective(parameters)
    return _Point(step, parameters, float(value), gradient, _dot(gradient, direction))


def _between(low: _Point, high: _Point) -> float:
    """Where the cubic through two points has its minimum, kept a tenth of their distance away from both."""
    width = high.step - low.step
    middle = low.step + 0.5 * width
    mean = low.slope + high.slope - 3 * (high.value - low.value) / width
    inside = mean * mean - low.slope * high.slope
    if not inside >= 0:
        return middle  # also where a value is not a number
    root = inside**0.5 * (1.0 if width > 0 else -1.0)
    bottom = high.slope - low.slope + 2 * root
    step = high.step - width * (high.slope + root - mean) / bottom if bottom else middle
    first, last = sorted((low.step + 0.1 * width, high.step - 0.1 * width))
    return min(max(step, first), last) if step == step else middle


def _dot(a: Tensor, b: Tensor) -> float:
    """The inner product, added up in float64 where the device has it."""
    return float(torch.sum(a * b, dtype=torch.float64))
