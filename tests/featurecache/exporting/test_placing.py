"""New tensors for a state dict; what cannot hold the head is refused."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor

from featurecache.classifying.terms import Term
from featurecache.exporting.finding import digest_of
from featurecache.exporting.placing import NewClassifier, held, placed

W, B = torch.arange(24.0).reshape(3, 8), torch.tensor([1.0, 2.0, 3.0])
TERMS = [vars(Term("a", 3, 0.5)), vars(Term("b", 5, 2.0))]


def new(weight: Tensor = W, bias: Tensor | None = B, **changes: Any) -> NewClassifier:
    given = {"layer": None, "recorded": None, "expected": None, "terms": ()}
    return NewClassifier(weight, bias, **{**given, **changes})


def two_layers(bias: bool = True, dtype: torch.dtype = torch.float32) -> OrderedDict[str, Tensor]:
    torch.manual_seed(0)
    state = OrderedDict({"a.weight": torch.randn(3, 3), "b.weight": torch.randn(3, 5), "b.bias": torch.randn(3)})
    if bias:
        state["a.bias"] = torch.randn(3)
    return OrderedDict((name, value.to(dtype)) for name, value in state.items())


def test_tensors_are_like_those_they_replace() -> None:
    state = {"fc.weight": torch.ones(3, 8, 1, 1, dtype=torch.float16), "fc.bias": torch.nn.Parameter(torch.ones(3))}
    name, tensors = placed(state, new())
    assert name == "fc"
    assert torch.equal(tensors["fc.weight"], W.half()[:, :, None, None])
    assert isinstance(tensors["fc.bias"], torch.nn.Parameter)
    assert torch.equal(tensors["fc.bias"], B)


def test_zeros_go_into_a_bias_that_is_there_and_nowhere_else(refused: Any) -> None:
    assert placed({"fc.weight": W, "fc.bias": B}, new(bias=None))[1]["fc.bias"].tolist() == [0, 0, 0]
    assert placed({"fc.weight": W}, new(bias=None))[1].keys() == {"fc.weight"}
    assert placed({"fc.weight": W}, new(bias=torch.zeros(3)))[1].keys() == {"fc.weight"}
    with refused("layer 'fc' has no bias and the head has one", "--module"):
        placed({"fc.weight": W}, new())


@pytest.mark.parametrize(("classes", "word"), [(2, "fewer"), (5, "more")])
def test_other_numbers_of_classes_are_refused(classes: int, word: str, refused: Any) -> None:
    for changes in ({"layer": "fc"}, {"recorded": "fc"}):
        with refused(f"checkpoint of other classes: its classifier 'fc' has 3, the head {word}, {classes};"):
            placed({"fc.weight": W, "fc.bias": B}, new(torch.ones(classes, 8), torch.ones(classes), **changes))


def test_several_layers_share_the_new_classifier() -> None:
    state = two_layers()
    old = held(state, "a+b", TERMS)
    assert old[1] is not None
    weight, bias = torch.randn(3, 8), torch.randn(3)
    name, tensors = placed(state, new(weight, bias, recorded="a+b", expected=digest_of(*old), terms=TERMS))
    assert name == "a+b"
    assert tensors.keys() == state.keys()
    made = held(tensors, name, TERMS)
    assert made[1] is not None
    # The factors are powers of two, so dividing and multiplying round nothing but the halves of the bias.
    assert torch.equal(made[0].float(), weight)
    torch.testing.assert_close(made[1].float(), bias, rtol=1e-6, atol=1e-6)
    x = torch.randn(6, 8)
    parts = [x[:, :3] @ tensors["a.weight"].T + tensors["a.bias"], x[:, 3:] @ tensors["b.weight"].T + tensors["b.bias"]]
    torch.testing.assert_close(0.5 * parts[0] + 2 * parts[1], x @ weight.T + bias, rtol=1e-5, atol=1e-5)


def test_the_bias_goes_to_the_layers_that_have_one(refused: Any) -> None:
    state = two_layers(bias=False)
    _, tensors = placed(state, new(terms=TERMS))
    assert tensors.keys() == state.keys()
    assert torch.equal(2 * tensors["b.bias"], B)
    del state["b.bias"]
    assert held(state, "a+b", TERMS)[1] is None
    with refused("layer 'a+b' has no bias"):
        placed(state, new(terms=TERMS))


def test_several_layers_of_another_model_are_refused(refused: Any) -> None:
    with refused("'a+b' is another classifier"):
        placed(two_layers(), new(terms=TERMS, expected="0" * 64))
    with refused("made of 'a+b' and not of 'a'", "--layer"):
        placed(two_layers(), new(layer="a", terms=TERMS))
    with refused("has no layer 'b'"):
        placed({"a.weight": torch.ones(3, 3)}, new(terms=TERMS))
    with refused("'b.weight' is (3, 4)"):
        placed({"a.weight": torch.ones(3, 3), "b.weight": torch.ones(3, 4)}, new(terms=TERMS))


def test_a_classifier_is_read_as_it_lies_there(refused: Any) -> None:
    weight, bias = held({"fc.weight": W.half()[:, :, None, None], "fc.bias": B}, "fc", ())
    assert torch.equal(weight, W.half())
    assert bias is B
    assert held({"m.fc.weight": W}, "fc", ())[1] is None
    with refused("layer 'fc' is (3, 8, 3, 3) and None, expected (K, D) and (K,)"):
        held({"fc.weight": torch.ones(3, 8, 3, 3)}, "fc", ())
    with refused("layer 'fc' is (3, 8) and (2,)"):
        held({"fc.weight": W, "fc.bias": torch.ones(2)}, "fc", ())
    with refused("different numbers of classes"):
        held({"a.weight": torch.ones(3, 3), "b.weight": torch.ones(4, 5)}, "a+b", TERMS)


def test_values_beyond_the_stored_dtype_and_tied_weights_are_refused(refused: Any) -> None:
    with refused("stored as torch.float16 up to 65504, the head holds 100000"):
        placed({"fc.weight": W.half()}, new(torch.full((3, 8), 1e5), None))
    with refused("stored as torch.int64"):
        placed({"fc.weight": W.long()}, new(bias=None))
    with refused("'fc.weight' is tied to 'embed'"):
        placed({"fc.weight": W, "embed": W}, new(bias=None))
