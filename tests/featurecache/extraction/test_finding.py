"""What a model's features are: proved on the first rows that can be read, and on few of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from featurecache.extraction.computing import Computing
from featurecache.extraction.finding import PROOF_ROWS, find, first_batch
from featurecache.extraction.rows import Rows

CPU = Computing(torch.device("cpu"))


class Counting(nn.Module):
    """A classifier that remembers how many rows it was given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.fc = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU()), nn.Linear(5, 3)
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        out: Tensor = self.fc(self.body(x))
        return out


def test_a_few_rows_of_a_large_batch_are_proved_on(pictures: Any) -> None:
    model, rows = Counting().eval(), {"train": Rows("train", pictures(40), 0)}
    found = find(model, rows, 32, CPU, layer=None, head=True)
    assert (found.layer, found.width, found.split, found.at) == ("fc", 5, "train", 0)
    assert len(found.first) == 32
    assert set(model.rows) == {PROOF_ROWS}
    assert found.head is not None
    assert torch.equal(found.head[0], model.fc.weight)


@pytest.mark.parametrize(("layer", "width"), [(None, 3), ("body", 5), ("body.1", 5)])
def test_without_a_head_an_output_is_found(layer: str | None, width: int, pictures: Any) -> None:
    found = find(Counting().eval(), {"val": Rows("val", pictures(4), 0)}, 2, CPU, layer=layer, head=False)
    assert (found.layer, found.width, found.head) == (layer, width, None)


def test_the_first_batch_is_the_first_that_can_be_read(pictures: Any) -> None:
    rows = {"train": Rows("train", pictures(5), 0), "val": Rows("val", pictures(3), 0)}
    split, at, batch = first_batch(rows, 2)
    assert (split.name, at, len(batch)) == ("train", 0, 2)
    assert torch.equal(batch.inputs, pictures(5).inputs[:2])


def test_half_precision_is_proved_in_its_own_tolerance(pictures: Any) -> None:
    found = find(
        Counting().eval(), {"train": Rows("train", pictures(8), 0)}, 8, Computing(torch.device("cpu"), amp="bf16"),
        layer=None, head=True,
    )  # fmt: skip
    assert found.layer == "fc"
    assert found.head is not None
    assert found.head[0].dtype == torch.float32
