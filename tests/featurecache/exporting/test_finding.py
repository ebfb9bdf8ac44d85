"""The classifier among a checkpoint's layers: by its name, else by its shape, and refused where two fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from featurecache.exporting.finding import digest_of, found_layer, layer_of_shape

W, B = torch.arange(24.0).reshape(3, 8), torch.tensor([1.0, 2.0, 3.0])
STATE = {"body.weight": torch.ones(8, 4), "conv.weight": torch.ones(3, 8, 3, 3), "fc.weight": W, "fc.bias": B}
OTHER = {**STATE, "aux.weight": W + 1, "aux.bias": B}


def find(state: Any, layer: str | None = None, recorded: str | None = None, expected: str | None = None) -> str:
    return found_layer(state, layer, recorded, (3, 8), expected)


@pytest.mark.parametrize(
    ("names", "asked", "found"),
    [
        *((["fc"], "fc", "fc"), (["fc"], "module.fc", "fc"), (["model.fc"], "fc", "model.fc")),
        *((["fc"], "net.fc", "fc"), (["head.fc", "fc"], "net.head.fc", "head.fc"), (["a.b.fc"], "b.fc", "a.b.fc")),
        *(([""], "module", ""), ([""], "", "")),
    ],
)
def test_a_name_is_found_whatever_either_side_was_wrapped_in(names: list[str], asked: str, found: str) -> None:
    state = {f"{name}.weight".removeprefix("."): W for name in names}
    assert find(state, asked) == found
    assert find(state, recorded=asked) == found


def test_another_name_is_not_the_layer(refused: Any) -> None:
    for asked in ("head", "c", "fc.fc2", "xfc"):
        with refused(f"no layer '{asked}'; (K, D) = (3, 8) is the shape of 'fc.weight'; name the one"):
            find(STATE, asked)


def test_without_the_recorded_name_the_shape_decides(refused: Any) -> None:
    assert find(STATE) == "fc"
    assert find(STATE, recorded="head") == "fc"
    assert find(STATE, recorded="head", expected=digest_of(W, B)) == "fc"
    with refused("no layer 'head'", "'fc.weight'"):  # it is another classifier: the name is what is wrong
        find(STATE, recorded="head", expected="0" * 64)
    assert find({"c.weight": W[:, :, None, None]}) == "c"


def test_of_two_that_fit_the_expected_one_is_meant_or_none(refused: Any) -> None:
    for expected, name in ((digest_of(W, B), "fc"), (digest_of(W + 1, B), "aux")):
        assert find(OTHER, expected=expected) == name
        assert find(OTHER, recorded="head", expected=expected) == name
    with refused("2 weights are (K, D) = (3, 8): 'fc.weight', 'aux.weight'; name the layer (--layer)"):
        find(OTHER)
    with refused("2 weights are (K, D) = (3, 8)"):
        find(OTHER, expected="0" * 64)
    with refused("no layer 'head'", "'fc.weight', 'aux.weight'"):
        find(OTHER, recorded="head")


def test_of_two_behind_wrappers_the_expected_one_is_meant(refused: Any) -> None:
    state = {"a.fc.weight": W, "a.fc.bias": B, "b.fc.weight": W + 1}
    with refused("2 layers could be 'fc': 'a.fc.weight', 'b.fc.weight'"):
        find(state, "fc")
    assert find(state, "fc", expected=digest_of(W + 1, None)) == "b.fc"


def test_other_numbers_of_classes_are_said(refused: Any) -> None:
    with refused("it has no weight (K, D) = (5, 8) (the last layer of that width, 'fc', gives 3)"):
        layer_of_shape(STATE, (5, 8))
    with refused("no layer 'head'; no weight is (K, D) = (5, 8) (the last layer of that width, 'fc', gives 3)"):
        found_layer(STATE, "head", None, (5, 8), None)
    with refused("it has no weight (K, D) = (5, 9)"):
        layer_of_shape(STATE, (5, 9))


def test_a_computed_weight_is_said(refused: Any) -> None:
    for name in ("fc.parametrizations.weight.original0", "fc.weight_g"):
        with refused("layer 'fc' computes its weight from", "--module", "replace_classifier"):
            find({name: torch.ones(3, 1)}, "fc")


def test_a_name_alone(refused: Any) -> None:
    assert found_layer(STATE, "fc", None, None, None) == "fc"
    with refused("it has no layer 'head'"):
        found_layer(STATE, "head", None, None, None)
    with refused("neither the classifier's name nor its shape"):
        found_layer(STATE, None, None, None, None)
