"""The minimum of an objective whose weights, class by class, are no longer than a radius.

Spectral projected gradients: along the gradient by a step that the last two gradients suggest, cut back into the balls,
and from there a line search that may rise above the last value but not above the last ten. Every point obeys the
bounds. The bounds condition the problem so well that no preconditioner is missed, which they would not allow anyway: in
a turned space balls are none.

Source: Birgin, Martínez and Raydan (SIAM Journal on Optimization 2000), algorithm 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rebalance.solving.objective import Objective
from rebalance.solving.solver import Solution

MEMORY = 10  # values that a new one is compared to
DECREASE = 1e-4  # of what the slope promises, a step must gain so much
ROUNDING = 1e-7  # of a value, what float32 losses leave uncertain
SHORTEST, LONGEST = 1e-10, 1e10  # steps
SEARCHES = 10  # evaluations in one line search before its last point is taken


@dataclass(frozen=True)
class Balls:
    """Parameters whose weights are no longer than the radius; the bias behind them is free.

    classes, width: K and D. radius: above 0. length: a bias moves as if it were the weight of a feature of this
    length; the largest deviation of the features is a good one.
    """

    classes: int
    width: int
    radius: float
    length: float

    def project(self, parameters: Tensor) -> Tensor:
        """The nearest parameters within: every weight that is too long cut to the radius."""
        weight, bias = self._parts(parameters)
        norms = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        return torch.cat([torch.where(norms > self.radius, weight * (self.radius / norms), weight).flatten(), bias])

    def scaled(self, gradient: Tensor, power: int) -> Tensor:
        """The gradient whose bias part is multiplied by a power of the length."""
        weight, bias = self._parts(gradient)
        return torch.cat([weight.flatten(), bias * self.length**power])

    def multipliers(self, parameters: Tensor, gradient: Tensor) -> Tensor:
        """(K,): what more weight decay would hold each class where it is; 0 where the bound is not felt."""
        weight, slope = self._parts(parameters)[0], self._parts(gradient)[0]
        felt = torch.linalg.vector_norm(weight, dim=1) >= self.radius * (1 - 1e-5)
        held = -(weight * slope).sum(dim=1) / self.radius**2
        return torch.where(felt, held.clamp_min(0), 0.0)

    def remaining(self, parameters: Tensor, gradient: Tensor) -> float:
        """The largest entry of the Lagrangian's gradient: 0 at a bounded minimum and nowhere else."""
        weight, slope = self._parts(parameters)[0], self._parts(gradient)
        free = slope[0] + self.multipliers(parameters, gradient)[:, None] * weight
        return max(float(free.abs().max()), float(slope[1].abs().max()))

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        cut = self.classes * self.width
        return parameters[:cut].view(self.classes, self.width), parameters[cut:]


def minimise_within(
    objective: Objective, start: Tensor, balls: Balls, *, tol: float, max_passes: int = 1000
) -> tuple[Solution, Tensor]:
    """The minimum within the balls (a stationary point where the objective is not convex), and the multipliers (K,).

    objective: of the weight (K, D) and the bias (K,), flattened. start: parameters to begin at, projected first; zeros
    are taken instead where they are better. tol: above 0; stop when the gradient of the Lagrangian has fallen to this
    share of the gradient at zero, or at the start if that is larger. max_passes: give up (converged=False) after so
    many evaluations.
    ValueError when tol is out of range or the objective is not finite at the start.
    """
    if not tol > 0:
        raise ValueError(f"tol is {tol}; expected a number above 0, such as 1e-3")
    here = balls.project(start)
    value, gradient = objective(here)
    zero = torch.zeros_like(start)
    level, origin = objective(zero)
    if not bool(torch.isfinite(value) & torch.isfinite(gradient).all()) or not math.isfinite(balls.length):
        raise ValueError("the objective is not finite at the start: the features hold NaN, infinity or huge numbers")
    if float(level) < float(value):
        here, value, gradient = zero, level, origin
    scale = max(float(origin.abs().max()), float(gradient.abs().max()), torch.finfo(torch.float32).tiny)
    values = [float(value)]
    passes, step = 2, 1 / max(float(torch.linalg.vector_norm(balls.scaled(gradient, 1))), SHORTEST)
    while (left := balls.remaining(here, gradient) / scale) > tol and passes < max_passes:
        direction = balls.project(here - step * balls.scaled(gradient, 2)) - here
        found, lower, new, used = _search(objective, here, direction, gradient, values)
        passes += used
        step = _step(balls.scaled(found - here, -1), balls.scaled(new - gradient, 1), even=passes % 2 == 0)
        here, gradient = found, new
        values = [*values, lower][-MEMORY:]
    solution = Solution(here, values[-1], left, passes, left <= tol)
    return solution, balls.multipliers(here, gradient)


def _search(
    objective: Objective, here: Tensor, direction: Tensor, gradient: Tensor, values: list[float]
) -> tuple[Tensor, float, Tensor, int]:
    """The next point with its value and gradient, and the evaluations it took."""
    slope = float(torch.sum(gradient * direction, dtype=torch.float64))
    bound = max(values) + ROUNDING * abs(max(values))
    share = 1.0
    used = 0
    while used < SEARCHES:
        used += 1
        point = here + share * direction
        found, new = objective(point)
        value = float(found)
        if value <= bound + DECREASE * share * slope:
            break
        # The lowest point of the parabola through both values and the slope, within limits.
        rise = value - values[-1] - share * slope
        lowest = -0.5 * share**2 * slope / rise if rise > 0 else 0.5 * share
        share = min(max(lowest, 0.1 * share), 0.5 * share)
    return point, value, new, used


def _step(moved: Tensor, change: Tensor, *, even: bool) -> float:
    """The step of Barzilai and Borwein, the longer and the shorter one in turn."""
    curved = float(torch.sum(moved * change, dtype=torch.float64))
    far, steep = (float(torch.linalg.vector_norm(each.double())) for each in (moved, change))
    if not curved > 0:  # the objective bends down, or nothing has changed
        return min(max(far / max(steep, SHORTEST), SHORTEST), LONGEST)
    return min(max(far**2 / curved if even else curved / steep**2, SHORTEST), LONGEST)
