"""An opened program: rows of its shape, many at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

from featurecache.exporting.program import ROWS, Program

Refused = Callable[..., AbstractContextManager[None]]


def test_many_rows_are_run_in_parts() -> None:
    sizes: list[int] = []

    def run(inputs: torch.Tensor) -> torch.Tensor:
        sizes.append(len(inputs))
        return 2 * inputs.double()

    inputs = torch.randn(2 * ROWS + 1, 3)
    found = Program((3,), {}, run)(inputs)
    assert found.dtype == torch.float32
    assert torch.equal(found, 2 * inputs)
    assert sizes == [ROWS, ROWS, 1]


@pytest.mark.parametrize("shape", [(4, 2), (0, 3), (4, 3, 1)])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...], refused: Refused) -> None:
    with refused(f"inputs {shape}, expected rows of shape (3,)"):
        Program((3,), {}, lambda inputs: inputs)(torch.zeros(shape))
