"""An exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """A copy of the model with averaged weights and buffers, to be judged and kept in its place.

    After every step ``averaged = decay * averaged + (1 - decay) * current``. Early on the decay is at most
    (1 + t) / (10 + t) after t steps, or the weights that training began with would stay in a short run's average.

    model: copied. decay: between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self._steps = decay, 0
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        pairs = list(zip(_tensors(model), _tensors(self.module), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        averaged = [mean for _, mean in self._floats]
        torch._foreach_lerp_(averaged, [current for current, _ in self._floats], 1 - decay)
        for current, mean in self._others:  # counters
            mean.copy_(current)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and the number of steps."""
        return {"steps": self._steps, "weights": dict(self.module.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes the average up where `state_dict` left it."""
        self.module.load_state_dict(state["weights"])
        self._steps = int(state["steps"])


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*(value.detach() for value in model.parameters()), *model.buffers()]
