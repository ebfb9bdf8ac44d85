"""Programs of modules: the same logits for any number of rows, and nothing of the machine they were made on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from featurecache.exporting.tracing import traced

Refused = Callable[..., AbstractContextManager[None]]


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_it_computes_what_the_module_does_in_eval_mode(rows: int, network: Callable[[int], nn.Sequential]) -> None:
    module = network(0).train()
    program = traced(module, torch.zeros(2, 3, 2, 2))
    inputs = torch.randn(rows, 3, 2, 2)
    assert module.training
    assert torch.equal(program.module()(inputs), module.eval()(inputs))


def test_what_a_model_wraps_its_logits_in_is_left_out() -> None:
    class Wrapping(nn.Linear):
        def forward(self, input: Tensor) -> object:
            return SimpleNamespace(loss=None, logits=super().forward(input))

    module = Wrapping(3, 2)
    inputs = torch.randn(5, 3)
    assert torch.equal(traced(module, inputs[:2]).module()(inputs), nn.Linear.forward(module, inputs))


def test_it_names_no_file_and_no_class() -> None:
    text = str(traced(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(2, 3)))
    assert "File:" not in text
    assert __file__ not in text


def test_warnings_of_the_caller_stay_errors(network: Callable[[int], nn.Sequential]) -> None:
    traced(network(0), torch.zeros(2, 3, 2, 2))
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)


class Fixed(nn.Linear):
    """Takes two rows and no others."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.reshape(2, 3))


class Branching(nn.Linear):
    """Looks at its numbers to know what to do."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if float(input.sum()) > 0 else super().forward(-input)


@pytest.mark.parametrize("kind", [Fixed, Branching])
def test_a_module_that_is_no_graph_for_any_number_of_rows_is_refused(kind: type[nn.Linear], refused: Refused) -> None:
    with refused(f"the {kind.__name__} cannot be written as a program for any number of rows"):
        traced(kind(3, 2), torch.zeros(2, 3))
