"""The proof that features @ W.T + b gives the logits."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache.proof import check_finite, logits_of, precision, prove


def classifier(width: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (8, D), weight (K, D) and bias (K,) of ordinary size."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(8, width, generator=generator)
    return (
        features,
        torch.randn(classes, width, generator=generator) / width**0.5,
        torch.randn(classes, generator=generator),
    )


@given(width=st.integers(1, 600), classes=st.integers(1, 30), seed=st.integers(0, 1000))
def test_float32_logits_are_proved(width: int, classes: int, seed: int) -> None:
    features, weight, bias = classifier(width, classes, seed)
    deviation = prove(features, weight, bias, torch.nn.functional.linear(features, weight, bias))
    # The rounding of 600 additions of numbers up to about 10: 600 * 6e-8 * 10.
    assert 0 <= deviation < 4e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_logits_are_proved_against_float32_weights(dtype: torch.dtype) -> None:
    features, weight, bias = classifier(512, 100)
    logits = torch.nn.functional.linear(features.to(dtype), weight.to(dtype), bias.to(dtype))
    assert prove(features.to(dtype), weight, bias, logits) > 0


def test_cancelling_terms_are_proved() -> None:
    # Terms of 1e4 that sum to about 1: the rounding is that of the terms.
    features = torch.full((4, 2000), 100.0)
    weight = torch.full((3, 2000), 100.0)
    weight[:, ::2] *= -1
    assert prove(features, weight, torch.ones(3), torch.ones(4, 3)) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_another_temperature_is_refused(dtype: torch.dtype) -> None:
    features, weight, bias = classifier(64, 10)
    logits = 1.2 * torch.nn.functional.linear(features, weight, bias)
    with pytest.raises(ValueError, match="misses the logits by"):
        prove(features.to(dtype), weight, bias, logits.to(dtype))


def test_a_missing_bias_counts_as_zeros() -> None:
    features, weight, bias = classifier(64, 10)
    assert prove(features, weight, None, features @ weight.T) < 1e-5
    with pytest.raises(ValueError, match="misses"):
        prove(features, weight, None, features @ weight.T + bias)


def test_a_wrong_label_order_is_refused() -> None:
    features, weight, bias = classifier(64, 10)
    with pytest.raises(ValueError, match="misses"):
        prove(features, weight.flip(0), bias.flip(0), torch.nn.functional.linear(features, weight, bias))


def test_nan_is_refused_wherever_it_is() -> None:
    features, weight, bias = classifier(64, 10)
    logits = features @ weight.T + bias
    bad = logits.clone()
    bad[3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"not finite in 1 of 8 rows \(first: row 3\)"):
        prove(features, weight, bias, bad)
    features[0, 0] = torch.nan
    with pytest.raises(ValueError, match="misses the logits by nan"):
        prove(features, weight, bias, logits)


@pytest.mark.parametrize(
    ("features", "weight", "bias", "logits"),
    [
        ((8, 5), (3, 4), (3,), (8, 3)),
        ((8, 4), (3, 4), (3,), (7, 3)),
        ((8, 4), (3, 4), (2,), (8, 3)),
        ((8, 4), (3, 4), (3,), (8, 2)),
        ((8, 4, 1), (3, 4), (3,), (8, 3)),
        ((0, 4), (3, 4), (3,), (0, 3)),
        ((4,), (3, 4), (3,), (3,)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    features: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...], logits: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        prove(torch.zeros(features), torch.zeros(weight), torch.zeros(bias), torch.zeros(logits))
    assert "\n" not in str(caught.value)


def test_integer_features_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features are torch\.int64"):
        prove(torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3), None, torch.ones(2, 2))


def test_the_coarser_dtype_decides() -> None:
    single, half = torch.ones(1), torch.ones(1, dtype=torch.bfloat16)
    assert precision(single, single) == 1e-4
    assert precision(single.double(), single.double()) == 1e-4
    assert precision(single, half) == precision(half, single) == 4 * 2**-7


def test_logits_are_found_in_what_models_return() -> None:
    logits, other = torch.ones(2, 3), torch.zeros(2, 5)
    Named = namedtuple("Named", ["aux", "logits"])
    for output in (
        logits,
        (logits, other),
        [logits],
        ((logits, other), other),
        {"loss": None, "logits": logits},
        OrderedDict(aux=other, logits=logits),
        SimpleNamespace(hidden=other, logits=logits),
        Named(other, logits),
    ):
        assert logits_of(output) is logits


@pytest.mark.parametrize(
    "output", [None, "logits", (), {"aux": torch.ones(2, 3)}, {"logits": None}, SimpleNamespace(logits=3), [None]]
)
def test_an_output_without_logits_is_refused(output: object) -> None:
    with pytest.raises(ValueError, match="without logits; expected a tensor"):
        logits_of(output)


@pytest.mark.parametrize(
    "logits", [torch.ones(3), torch.ones(2, 3, 1, 1), torch.ones(2, 3, dtype=torch.int64), torch.ones(0, 3)]
)
def test_logits_of_another_shape_or_type_are_refused(logits: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected floats \(B, K\)"):
        logits_of(logits)


def test_infinite_logits_are_counted() -> None:
    check_finite(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"2 of 3 rows \(first: row 1\)"):
        check_finite(torch.tensor([[1.0], [torch.inf], [-torch.inf]]))
