"""Local weights: all of them, or one line that says how they differ."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

from featurecache.models.model import load_weights


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(OrderedDict(a=nn.Linear(2, width), norm=nn.BatchNorm1d(width), b=nn.Linear(width, 4)))


def load(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    load_weights(module, state, source="file:n.py:f", checkpoint="'w.pt'")


def test_every_tensor_arrives() -> None:
    torch.manual_seed(0)
    source, target = network(), network()
    load(target, source.state_dict())
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in target.state_dict().items())


def test_old_batch_normalisations_have_no_step_counter() -> None:
    state = {name: value for name, value in network().state_dict().items() if "num_batches" not in name}
    load(network(), state)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda s: s.pop("b.bias"), ["1 missing (first 'b.bias')"]),
        (lambda s: s.update(extra=torch.zeros(1)), ["1 unexpected (first 'extra')"]),
        (lambda s: s.update({"b.bias": torch.zeros(9)}), ["1 of another shape (first 'b.bias' (9,), expected (4,))"]),
        (lambda s: (s.clear(), s.update(network(5).state_dict())), ["7 of another shape", "'a.weight' (5, 2)"]),
        (
            lambda s: (s.pop("a.bias"), s.update({"b.bias": torch.zeros(9), "x": torch.zeros(1)})),
            ["1 missing (first 'a.bias')", "1 unexpected (first 'x')", "1 of another shape"],
        ),
    ],
)
def test_a_difference_is_refused_in_one_line(change: Any, parts: list[str], refused: Any) -> None:
    state = OrderedDict(network().state_dict())
    change(state)
    with refused("checkpoint 'w.pt' of another architecture than file:n.py:f", *parts):
        load(network(), state)
