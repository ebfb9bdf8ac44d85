"""Forwards that are looked into."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featurecache.classifying.observing import evaluating, observe


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5))


def test_calls_come_in_the_order_of_execution_with_input_and_output() -> None:
    model, x = mlp().requires_grad_(False), torch.randn(3, 4)
    logits, calls = observe(model, x, [("2", model[2]), ("0", model[0])])
    assert [call.name for call in calls] == ["0", "2"]
    assert torch.equal(logits, model(x))
    assert torch.equal(calls[0].inputs, x)
    assert calls[1].output is not None
    assert torch.equal(calls[1].output, logits)
    assert calls[1].output.data_ptr() != logits.data_ptr()


def test_outputs_of_many_vectors_a_row_are_not_kept() -> None:
    model = mlp()
    calls = observe(nn.Sequential(model, nn.Flatten()), torch.randn(3, 2, 4), [("0", model[0])])[1]
    assert calls[0].output is None
    assert calls[0].inputs.is_meta


def test_a_layer_within_a_layer_keeps_its_own_output() -> None:
    model, x = nn.Sequential(mlp()), torch.randn(3, 4)
    _, calls = observe(model, x, [("0", model[0]), ("0.0", model[0][0])])
    widths = {call.name: call.output.shape[1] for call in calls if call.output is not None}
    assert widths == {"0": 5, "0.0": 8}


def test_changed_outputs_reach_the_logits_and_calls_hold_those_from_before() -> None:
    model, x = mlp(), torch.randn(3, 4)
    logits, calls = observe(model, x, [("2", model[2])], {model[2]: torch.zeros_like})
    assert not logits.any()
    assert calls[0].output is not None
    assert calls[0].output.all()
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_hooks_go_and_modes_come_back_after_an_error() -> None:
    model = mlp().train()
    model[1].eval()
    with pytest.raises(RuntimeError, match="mat1"), evaluating(model):
        observe(model, torch.randn(3, 7), [("2", model[2])], {model[2]: torch.zeros_like})
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_evaluating_computes_without_gradients_but_not_in_inference_mode() -> None:
    model = mlp()
    with evaluating(model):
        assert not model.training
        logits = model(torch.randn(3, 4))
    assert not logits.requires_grad
    assert not logits.is_inference()
