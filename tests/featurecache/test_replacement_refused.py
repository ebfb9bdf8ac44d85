"""Models and classifiers that do not fit one another are refused in one line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from featurecache.replacement import replace_classifier


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))


def test_two_layers_that_fit_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5))
    with pytest.raises(ValueError, match=r"2 layers are \(K, D\) = \(5, 5\): '0', '2'; pass layer="):
        replace_classifier(model, nn.Linear(5, 5))
    assert torch.equal(replace_classifier(model, nn.Linear(5, 5), layer="2")[0].weight, model[0].weight)


def test_no_layer_that_fits_is_refused_with_the_shapes_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"no layer \(K, D\) = \(5, 9\); its last linear layers are '0' .*'3' Linear \(5, 8\)"
    ):
        replace_classifier(mlp(), nn.Linear(9, 5))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("0", r"'0' is Linear \(8, 4\) and the new classifier Linear \(5, 8\)"),
        ("2", "'2' is ReLU"),
        ("head", "no layer 'head'"),
    ],
)
def test_a_named_layer_that_does_not_fit_is_refused(layer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace_classifier(mlp(), nn.Linear(8, 5), layer=layer)


def test_values_beyond_the_dtype_are_refused() -> None:
    new = nn.Linear(8, 5)
    nn.init.constant_(new.weight, 1e6)
    with pytest.raises(ValueError, match=r"not finite in torch\.float16"):
        replace_classifier(mlp().half(), new)


def test_buffers_beyond_the_dtype_are_refused() -> None:
    class Centred(nn.Linear):
        """Takes a centre off its input."""

        def __init__(self) -> None:
            super().__init__(8, 5)
            self.register_buffer("center", torch.full((8,), 1e6))

    with pytest.raises(ValueError, match=r"not finite in torch\.float16"):
        replace_classifier(mlp().half(), Centred())


def quantised() -> nn.Sequential:
    model = mlp()
    model[3].weight = nn.Parameter(model[3].weight.to(torch.int8), requires_grad=False)
    return model


def locked() -> nn.Sequential:
    model = mlp()
    model.lock = threading.Lock()
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp().to("meta"), "no values .*load the model's weights first"),
        (quantised, r"stored as torch\.int8; expected a model that is not quantised"),
        (locked, r"cannot be copied \(TypeError: .*_thread\.lock.*\); expected one that copy\.deepcopy copies"),
    ],
    ids=["meta", "quantised", "locked"],
)
def test_models_that_cannot_take_it_are_refused(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        replace_classifier(make(), nn.Linear(8, 5))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("layer", [None, "3"])
def test_a_torchscript_program_is_refused(layer: str | None) -> None:
    with pytest.raises(ValueError, match=r"TorchScript .*; expected the nn\.Module it was made from"):
        replace_classifier(torch.jit.script(mlp()), nn.Linear(8, 5), layer=layer)


def test_a_model_whose_copy_is_not_its_own_is_refused() -> None:
    class Same(nn.Sequential):
        """Copies itself in its own way."""

        def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
            return mlp()

    with pytest.raises(ValueError, match="a copy of this Same keeps its old layers"):
        replace_classifier(Same(*mlp()), nn.Linear(8, 5))


@pytest.mark.parametrize(
    ("model", "module", "layer", "says"),
    [
        (nn.Linear(3, 2), object(), None, "object is no nn.Module"),
        ({"weight": 1}, nn.Linear(3, 2), None, "dict is no nn.Module"),
        (nn.Linear(3, 2), nn.Linear(3, 2), 5, "layer is a int"),
    ],
)
def test_other_things_than_modules(model: Any, module: Any, layer: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace_classifier(model, module, layer=layer)
