"""Where the weights lie in a file."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from featurecache.weights_layouts import AVERAGED, PLAIN, fold_scales, has_both, located

A, B = {"fc.weight": torch.ones(2, 3)}, {"fc.weight": torch.zeros(2, 3)}


@pytest.mark.parametrize("plain", PLAIN)
@pytest.mark.parametrize("averaged", AVERAGED)
def test_a_file_with_both_gives_the_one_that_is_asked_for(plain: str, averaged: str) -> None:
    root = {"epoch": 3, plain: A, averaged: B, "optimizer": {"state": {}}}
    assert located(root, ema=False)[0] is A
    assert located(root, ema=True)[0] is B


def test_a_file_may_be_a_state_dict() -> None:
    assert located(A, ema=False) == (A,)


def test_whether_a_file_has_both_kinds() -> None:
    assert has_both({"state_dict": A, "state_dict_ema": B, "epoch": 3})
    assert has_both({"state_dict_best": {"feat_model": A}, "ema": B})
    for root in (A, {"state_dict": A, "ema": None}, {"model_ema": B, "model": "resnet"}, {"state_dict": A}):
        assert not has_both(root)


def test_settings_under_another_known_key_are_not_weights() -> None:
    assert located({"model": {"name": "resnet"}, "state_dict": A}, ema=False) == (A,)


def test_the_papers_two_parts() -> None:
    parts = {"feat_model": A, "classifier": B}
    assert located({"state_dict_best": parts, "best_acc": 1.0}, ema=False) == (A, B)
    assert located({"state_dict_best": {"feat_model": A}}, ema=False) == (A,)


@pytest.mark.parametrize(
    ("root", "ema", "part"),
    [
        ({"state_dict": A}, True, "no averaged weights (none of 'state_dict_ema'"),
        (A, True, "leave --ema out"),
        ({"model_ema": A}, False, "averaged weights only, under 'model_ema'; take them with --ema"),
        ({"state_dict": A, "net": B}, False, "2 state dicts ('state_dict', 'net')"),
        ({"model": A, "ema": A, "model_ema": B}, True, "2 state dicts ('model_ema', 'ema')"),
    ],
)
def test_what_cannot_be_chosen_is_refused(root: dict[Any, Any], ema: bool, part: str, refused: Any) -> None:
    with refused(part):
        located(root, ema=ema)


def test_scales_times_the_classifier_is_the_folded_classifier() -> None:
    torch.manual_seed(0)
    x, weight, bias, scales = torch.randn(5, 3), torch.randn(4, 3), torch.randn(4), torch.randn(4)
    state = {"conv1.weight": torch.ones(1), "fc.weight": weight, "fc.bias": bias, "scales": scales}
    fold_scales(state)
    assert list(state) == ["conv1.weight", "fc.weight", "fc.bias"]
    # float32: two orders of the same three operations
    torch.testing.assert_close(x @ state["fc.weight"].T + state["fc.bias"], scales * (x @ weight.T + bias))


def test_without_scales_nothing_changes() -> None:
    state = dict(A)
    fold_scales(state)
    assert state == A


@pytest.mark.parametrize(
    "state",
    [
        {"scales": torch.ones(2)},
        {"scales": torch.ones(3), **A},
        {"scales": torch.ones(2), "fc.weight": torch.ones(2, 3, 1)},
        {"scales": torch.ones(2), **A, "fc.bias": torch.ones(5)},
    ],
)
def test_scales_of_another_classifier_are_refused(state: dict[str, Tensor], refused: Any) -> None:
    with refused("its "):
        fold_scales(state)
