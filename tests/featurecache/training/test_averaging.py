"""The average of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from featurecache.training.averaging import Average


def test_it_is_the_recursion_written_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    average = Average(model, 0.6)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(1, 30):
        decay = min(0.6, (1 + step) / (10 + step))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        model(torch.randn(4, 2))  # moves the buffers
        average.update()
        for name, value in model.state_dict().items():
            old = expected[name]
            expected[name] = decay * old + (1 - decay) * value if value.is_floating_point() else value.clone()
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not average.module.training
    assert not any(parameter.requires_grad for parameter in average.module.parameters())


def test_it_goes_on_from_its_state(small: Callable[[], nn.Module], equal: Any) -> None:
    model = small()
    first, second = Average(model, 0.99), Average(model, 0.99)
    for stop in (3, 5):
        for _ in range(stop):
            with torch.no_grad():
                next(model.parameters()).normal_()
            first.update()
        second.load_state_dict(first.state_dict())
        with torch.no_grad():
            next(model.parameters()).normal_()
        first.update()
        second.update()
        assert equal(first.module, second.module)


def test_a_model_that_stands_still_is_its_own_average(small: Callable[[], nn.Module]) -> None:
    model = small()
    average = Average(model, 0.9)
    for _ in range(5):
        average.update()
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name])
