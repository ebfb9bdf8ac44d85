"""A classifier divided among several layers adds up to itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache.classifying.terms import Term
from featurecache.exporting.shares import joined, read_terms, shared

FACTORS = st.floats(0.01, 100) | st.floats(-100, -0.01)


@given(st.lists(st.tuples(st.integers(1, 4), FACTORS, st.booleans()), min_size=1, max_size=4), st.integers(0, 99))
def test_the_shares_add_up_to_the_whole(parts: list[tuple[int, float, bool]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    terms = tuple(Term(str(n), width, factor) for n, (width, factor, _) in enumerate(parts))
    biased = [has_bias for *_, has_bias in parts]
    width = sum(term.width for term in terms)
    weight = torch.randn(3, width, generator=generator)
    bias = torch.randn(3, generator=generator) if any(biased) else None
    x = torch.randn(5, width, generator=generator).double()
    shares = shared(weight, bias, terms, biased)
    assert [bool(b.any()) for _, b in shares] == biased
    columns = torch.split(x, [term.width for term in terms], 1)
    logits = sum(t.factor * (c @ w.T + b) for t, c, (w, b) in zip(terms, columns, shares, strict=True))
    wanted = x @ weight.double().T + (0 if bias is None else bias.double())
    torch.testing.assert_close(logits, wanted, rtol=1e-12, atol=1e-12)  # float64 sums of a few terms
    again = joined([(w, b) for w, b in shares], terms)
    torch.testing.assert_close(again[0].float(), weight, rtol=1e-6, atol=0)
    if bias is not None:
        torch.testing.assert_close(again[1].float(), bias, rtol=1e-5, atol=1e-6)


def test_one_layer_without_a_factor_is_itself_bit_for_bit() -> None:
    weight, bias = torch.randn(3, 4, dtype=torch.bfloat16), torch.randn(3, dtype=torch.bfloat16)
    found = joined([(weight, bias)], [Term("fc", 4)])
    assert found[0] is weight
    assert found[1] is bias
    assert joined([(weight, None)], [Term("fc", 4)])[1].tolist() == [0, 0, 0]
    share = shared(weight.float(), bias.float(), [Term("fc", 4)], [True])[0]
    assert torch.equal(share[0].bfloat16(), weight)


def test_what_a_head_remembers_is_read() -> None:
    record = [vars(Term("a", 3, 0.5)), {"name": "b", "width": 2, "factor": 1, "normalised": False}]
    assert read_terms(record, 5) == (Term("a", 3, 0.5), Term("b", 2, 1.0))
    assert read_terms([], 5) == ()


GOOD = {"name": "a", "width": 3, "factor": 0.5, "normalised": False}


@pytest.mark.parametrize(
    "record",
    [
        *([{"name": "a"}], [3], ["abcd"], [{**GOOD, "width": "x"}], [{**GOOD, "width": 1e999}], [{**GOOD, "width": 0}]),
        *([{**GOOD, "factor": value}] for value in (0, float("nan"), float("inf"), "x", None)),
        [GOOD, GOOD],
        3,
    ],
)
def test_a_damaged_record_is_refused(record: Any, refused: Any) -> None:
    with refused("record of its classifier's layers is damaged"):
        read_terms(record, 3)


def test_widths_and_normalised_layers_are_refused(refused: Any) -> None:
    with refused("the head is 4 wide, and the layers that it remembers 3"):
        read_terms([GOOD], 4)
    with refused("layer 'a' divides its input by its length", "--module", "replace_classifier"):
        read_terms([{**GOOD, "normalised": True}], 3)
