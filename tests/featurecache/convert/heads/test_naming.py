"""Which arrays are a classifier."""

from __future__ import annotations

from typing import Any

import pytest

from featurecache.convert.heads.naming import check_pair, find_pair, is_known, matrix_shape

SHAPES = {"weight": (3, 4), "bias": (3,)}


@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        *(("weight", "bias"), ("fc.weight", "fc.bias"), ("classifier.weight", "classifier.bias")),
        *(("head.weight", "head.bias"), ("model/head/weight", "model/head/bias"), ("W", "b")),
        *(("kernel", "bias"), ("coef_", "intercept_"), ("coef", "intercept"), ("Weight", "BIAS")),
    ],
)
def test_pairs_are_known_by_their_names(weight: str, bias: str) -> None:
    shapes = {bias: (3,), weight: (3, 4)}
    assert find_pair(shapes, {}) == (weight, bias)
    assert find_pair({weight: (3, 4)}, {}) == (weight, None)
    assert find_pair({"other": (3, 4), "x": (3,), **shapes}, {"weight": weight}) == (weight, bias)
    assert find_pair({"other": (3, 4), "x": (3,), **shapes}, {"weight": "other", "bias": "x"}) == ("other", "x")
    assert find_pair(shapes, {"bias": ""}) == (weight, None)
    assert is_known(weight)
    assert is_known(bias)


def test_a_bias_belongs_to_its_own_weight() -> None:
    shapes = {"fc.weight": (3, 4), "head.weight": (3, 4), "head.bias": (3,), "bias": (3,)}
    assert find_pair(shapes, {"weight": "fc.weight"}) == ("fc.weight", None)
    assert find_pair(shapes, {"weight": "head.weight"}) == ("head.weight", "head.bias")


def test_a_convolution_is_a_weight_and_a_vector_is_none() -> None:
    shapes = {"fc.weight": (3, 4, 1, 1), "fc.bias": (3,)}
    assert find_pair(shapes, {}) == ("fc.weight", "fc.bias")
    assert matrix_shape("fc.weight", shapes) == (3, 4)
    assert matrix_shape("w", {"w": (3, 4, 3, 3)}) == (3, 4, 3, 3)


def test_one_row_of_coefficients_is_a_weight_where_there_are_classes(refused: Any) -> None:
    shapes = {"coef_": (4,), "intercept_": (1,), "classes_": (2,)}
    assert find_pair(shapes, {}) == ("coef_", "intercept_")
    assert matrix_shape("coef_", shapes) == (1, 4)
    assert matrix_shape("bias", shapes | {"bias": (4,)}) == (4,)
    del shapes["classes_"]  # it may be a regression
    with refused("no array that is known to be a weight"):
        find_pair(shapes, {})


@pytest.mark.parametrize(
    ("there", "names", "parts"),
    [
        ({}, {}, ("there are no arrays", "--map weight=")),
        ({"a": (3, 4)}, {}, ("there are 'a' (3, 4)", "--map weight=NAME")),
        ({"norm.weight": (3,)}, {}, ("'norm.weight' (3,)",)),
        (
            {"fc.weight": (3, 4), "head.weight": (3, 4)},
            {},
            ("2 arrays may be the weight ('fc.weight', 'head.weight')", "--map weight=NAME,bias=NAME"),
        ),
        ({"W": (3, 4), "b": (3,), "B": (3,)}, {}, ("'b', 'B' may be the bias", "--map bias=NAME")),
        (SHAPES, {"features": "weight"}, ("--map 'features'", "expected weight=NAME")),
        (SHAPES, {"weight": ""}, ("--map 'weight'",)),
        (SHAPES, {"weight": "w"}, ("no array 'w'", "'weight' (3, 4), 'bias' (3,)")),
        (
            {"conv.weight": (8, 3, 3, 3), "fc.weight": (3, 4), "fc.bias": (3,)},
            {},
            ("more than a weight and a bias", "1: 'conv.weight'", "rebalance extract", "--map weight=fc.weight"),
        ),
        (SHAPES | {"center": (4,)}, {}, ("1: 'center'",)),
    ],
)
def test_what_is_not_one_classifier(there: Any, names: Any, parts: tuple[str, ...], refused: Any) -> None:
    with refused(*parts):
        find_pair(there, names)


def test_many_long_names_make_one_line(refused: Any) -> None:
    with refused("300 arrays may be the weight", "and others"):
        find_pair({f"{'x' * 5000}\n.{i}.weight": (3, 4) for i in range(300)}, {})
    with refused("and others"):
        find_pair({f"{'x' * 5000}\n.{i}": (3, 4) for i in range(300)}, {})


@pytest.mark.parametrize(
    ("weight", "bias"), [((3, 4), (3,)), ((3, 4), None), ((3, 4), ()), ((1, 4), (1,)), ((3, 3), (3,))]
)
def test_shapes_of_a_classifier(weight: tuple[int, ...], bias: tuple[int, ...] | None) -> None:
    check_pair(weight, bias)


@pytest.mark.parametrize(
    ("weight", "bias", "part"),
    [
        ((3,), (3,), "expected (K, D)"),
        ((3, 4, 2), (3,), "expected (K, D)"),
        ((0, 4), (0,), "expected (K, D)"),
        ((3, 0), (3,), "expected (K, D)"),
        ((), None, "expected (K, D)"),
        ((4, 3), (3,), "it seems to be (D, K)"),
        ((3, 4), (5,), "expected (K, D) and (K,)"),
        ((3, 4), (3, 1), "expected (K, D) and (K,)"),
    ],
)
def test_shapes_of_no_classifier(weight: Any, bias: Any, part: str, refused: Any) -> None:
    with refused(f"the weight is {weight}", part):
        check_pair(weight, bias)
