"""Folding: what is affine becomes one weight and bias with the same logits, and nothing else does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebalance import GatedHead, LinearHead, NormalizedHead
from rebalance.folding import fold

numbers = st.integers(0, 10_000)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    """Numbers of ordinary size."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(seed=numbers, bias=st.floats(-30, 30))
def test_a_gate_that_is_the_same_for_every_row_is_folded(seed: int, bias: float) -> None:
    head = GatedHead(
        drawn(seed, 4, 3),
        drawn(seed + 1, 4),
        record={"method": "disalign"},
        scale=drawn(seed + 2, 4),
        offset=drawn(seed + 3, 4),
        gate_bias=torch.tensor(bias),
    )
    found = fold(head)
    assert type(found.head) is LinearHead
    assert found.head.record == head.record
    features = drawn(seed + 4, 6, 3)
    # Numbers of about 10, and a few roundings of each.
    torch.testing.assert_close(found.head(features), head(features), rtol=1e-5, atol=1e-5)
    assert found.said.startswith("folded into one weight and bias: its gate, open by ")


def test_a_gate_whose_correction_changes_nothing_is_left_out_exactly() -> None:
    head = GatedHead(drawn(0, 4, 3), drawn(1, 4), gate=drawn(2, 3), gate_bias=torch.tensor(1.0))
    found = fold(head)
    assert torch.equal(found.head.weight, head.weight)
    assert torch.equal(found.head.bias, head.bias)
    assert "changes nothing" in found.said


@pytest.mark.parametrize("part", ["scale", "offset"])
def test_a_gate_that_differs_from_row_to_row_stays(part: str) -> None:
    head = GatedHead(drawn(0, 4, 3), **{part: drawn(1, 4)}, gate=drawn(2, 3))
    found = fold(head)
    assert found.head is head
    assert found.said.startswith("its gate cannot be folded")
    # It is not affine: the logits of a mean are not the mean of the logits.
    one, two = torch.zeros(1, 3), 10 * head.gate[None]
    assert float((head((one + two) / 2) - (head(one) + head(two)) / 2).abs().max()) > 1e-3


def test_a_normalised_head_stays() -> None:
    centred = NormalizedHead(drawn(0, 4, 3), center=drawn(1, 3))
    plain = NormalizedHead(drawn(0, 4, 3))
    assert fold(centred).head is centred
    assert fold(centred).said.endswith("nor can its center, which comes before")
    assert fold(plain).said.startswith("the scaling of every row")


def test_a_linear_head_is_folded_already() -> None:
    head = LinearHead(drawn(0, 4, 3), record={"temperature": 1.25})
    assert fold(head).head is head
    assert fold(head).said == "nothing to fold: it is one weight and bias already, its temperature of 1.25 in them"
