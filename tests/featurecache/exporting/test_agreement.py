"""Whether logits agree: rounding passes, anything else does not, and rows that are close are told from wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from featurecache.exporting.agreement import agreement, together
from featurecache.proof import precision

Refused = Callable[..., AbstractContextManager[None]]


def drawn(seed: int, rows: int = 20, classes: int = 5) -> Tensor:
    """Logits of ordinary size."""
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.99))
def test_what_is_within_the_tolerance_holds_and_decides_alike(seed: int, share: float) -> None:
    z = drawn(seed)
    allowed = share * float(z.abs().max()) * 1e-4
    made = z + allowed * torch.where(drawn(seed + 1) > 0, 1.0, -1.0)
    found = agreement(z, made)
    assert found.holds
    assert found.rows == 20
    assert found.largest <= found.tolerance
    best = z.topk(2, dim=1)
    far = best.values[:, 0] - best.values[:, 1] > 2 * found.tolerance
    assert found.close == int((~far).sum())
    assert torch.equal(made.argmax(dim=1)[far], best.indices[:, 0][far])


@given(seed=st.integers(0, 10_000), row=st.integers(0, 19), column=st.integers(0, 4))
def test_one_number_that_is_off_does_not_hold(seed: int, row: int, column: int) -> None:
    z = drawn(seed)
    made = z.clone()
    made[row, column] += 3e-4 * float(z.abs().max())
    found = agreement(z, made)
    assert not found.holds
    assert found.beyond == 1


def test_a_decision_that_changed_is_counted_and_a_close_one_is_not(refused: Refused) -> None:
    z = torch.tensor([[1.0, 1.00001], [1.0, 2.0], [2.0, 1.0]])
    found = agreement(z, z.flip(1))
    assert (found.close, found.wrong, found.beyond) == (1, 2, 2)
    with refused("x.pt does not give the head's logits: 2 of 3 rows", "2 decisions differ"):
        found.require("x.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_coarser_dtype_is_allowed_more(dtype: torch.dtype) -> None:
    z = drawn(0)
    rounded = z.to(dtype).float()
    assert agreement(z, rounded, dtype=dtype).holds
    assert not agreement(z, rounded).holds
    assert agreement(z, rounded, dtype=dtype).tolerance == pytest.approx(
        precision(rounded.to(dtype), rounded) * float(z.abs().max())
    )


def test_classes_that_are_never_predicted_do_not_widen_the_tolerance() -> None:
    z = drawn(0)
    z[:, 2] = -1e30
    found = agreement(z, z)
    assert found.tolerance < 1e-3
    assert found.holds
    assert found.close == 0
    off = z.clone()
    off[0, 0] += 0.01
    assert not agreement(z, off).holds
    off = z.clone()
    off[0, 2] = -1e20  # still never predicted, and yet another number
    assert not agreement(z, off).holds


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_does_not_hold(value: float) -> None:
    z = drawn(0)
    made = z.clone()
    made[3, 1] = value
    assert agreement(z, made).beyond == 1
    assert agreement(z, made).largest == torch.inf


def test_zeros_agree_with_zeros() -> None:
    found = agreement(torch.zeros(3, 2), torch.zeros(3, 2))
    assert found.holds
    assert found.close == 3


def test_parts_add_up() -> None:
    z = torch.tensor([[1.0, 2.0], [5.0, 5.0]])
    found = together([agreement(z, z), agreement(z, z + 1e-4)])
    assert (found.rows, found.close, found.wrong, found.beyond) == (4, 2, 0, 0)
    assert found.largest == pytest.approx(1e-4, rel=1e-2)
    with pytest.raises(ValueError, match="no rows"):
        together([])


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (3,), (0, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...], refused: Refused) -> None:
    with refused("expected (3, 5)"):
        agreement(drawn(0, 3), torch.zeros(shape))
    with refused("at least one row"):
        agreement(torch.zeros(0, 5), torch.zeros(0, 5))


def test_a_class_that_is_switched_off_says_nothing_of_the_others() -> None:
    z = torch.tensor([[1e-3, 2e-3, -1e6]])
    terms = torch.tensor([[1e-2, 1e-2, 1e6]])
    assert agreement(z, z + torch.tensor([[1e-7, 0, 10]]), terms=terms).holds
    assert not agreement(z, torch.tensor([[0.0, 0.0, -1e6]]), terms=terms).holds
    assert agreement(z, z, terms=terms).close == 0


def test_where_terms_cancel_the_logit_may_be_small() -> None:
    z = torch.tensor([[1e-9, -1e-9]])
    assert agreement(z, -z, terms=torch.ones(1, 2)).holds
