"""One forward: features and logits of any pieces are those of the whole, and a full device says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from featurecache.classifier import find_classifier
from featurecache.extraction.computing import Computing
from featurecache.extraction.forward import Forward, OutOfMemory

CPU = Computing(torch.device("cpu"))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


@pytest.mark.parametrize("at_most", [1, 2, 3, 7, 100])
def test_pieces_give_what_the_whole_gives(at_most: int) -> None:
    model, x = network(), torch.randn(7, 6)
    forward = Forward(model, find_classifier(model, x), CPU)
    with forward.ready():
        features, logits = forward(x, 7, at_most)
    assert forward.has_logits
    assert logits is not None
    # Sums of 6 and 5 float32 terms may be ordered otherwise in a smaller product.
    torch.testing.assert_close(features, model[:2](x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(logits, model(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layer", [None, "1"])
def test_a_backbone_gives_an_output_and_no_logits(layer: str | None) -> None:
    model, x = network(), torch.randn(4, 6)
    forward = Forward(model, layer, CPU)
    with forward.ready():
        features, logits = forward(x, 4, 3)
    expected = model(x) if layer is None else model[:2](x)
    assert logits is None
    torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-6)


def test_a_structure_is_cut_as_one() -> None:
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, *, a: Tensor, b: Tensor) -> Tensor:
            out: Tensor = self.fc(a + b)
            return out

    model, x = Added().eval(), {"a": torch.randn(5, 6), "b": torch.randn(5, 6)}
    forward = Forward(model, find_classifier(model, x), CPU)
    with forward.ready():
        features, _ = forward(x, 5, 2)
    torch.testing.assert_close(features, x["a"] + x["b"], rtol=0, atol=0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: …"),
    ],
)
def test_a_full_device_says_which_batch_to_try(error: Exception, refused: Any) -> None:
    class Greedy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 2:
                raise error
            return x

    forward = Forward(Greedy(), None, CPU)
    with forward.ready():
        with refused("out of memory at 8 rows", "--batch-size 4", error=OutOfMemory):
            forward(torch.zeros(8, 2), 8, 8)
        assert forward(torch.zeros(8, 2), 8, 2).features.shape == (8, 2)


def test_another_error_is_not_called_a_full_device() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("view size is not compatible")

    forward = Forward(Broken(), None, CPU)
    with forward.ready(), pytest.raises(RuntimeError, match="view size"):
        forward(torch.zeros(2, 2), 2, 2)


def test_one_row_that_is_too_many_leaves_no_advice() -> None:
    error = OutOfMemory(1, torch.device("cpu"))
    assert error.smaller == 0
    assert "--batch-size" not in str(error)
