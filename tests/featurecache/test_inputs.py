"""What a model is called with: any structure of tensors, moved and cut as one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from featurecache.inputs import call, each, taken, to_device


class Echo(nn.Module):
    """Returns what it was called with."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs


X, Y = torch.arange(6.0).reshape(3, 2), torch.arange(3)
STRUCTURE = {"x": X, "deeper": [Y, {"again": X}], "text": "stays", "count": 3}


def test_a_mapping_holds_keywords_a_sequence_arguments() -> None:
    assert call(Echo(), OrderedDict(a=X)) == ((), {"a": X})
    assert call(Echo(), [X, Y]) == ((X, Y), {})
    assert call(Echo(), (X,)) == ((X,), {})
    assert call(Echo(), X) == ((X,), {})


def test_every_tensor_is_changed_and_nothing_else() -> None:
    seen: list[Tensor] = []
    changed = each(STRUCTURE, lambda value: seen.append(value) or value + 1)  # type: ignore[func-returns-value]
    assert len(seen) == 3
    assert torch.equal(changed["deeper"][1]["again"], X + 1)
    assert (changed["text"], changed["count"]) == ("stays", 3)
    assert torch.equal(STRUCTURE["x"], X)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels_last", [False, True])
def test_only_images_get_another_order_of_memory(channels_last: bool) -> None:
    image = torch.zeros(2, 3, 4, 5)
    moved = to_device({"image": image, "x": X}, torch.device("cpu"), channels_last=channels_last)
    assert moved["image"].is_contiguous(memory_format=torch.channels_last) == channels_last
    assert moved["image"].shape == image.shape
    assert moved["x"].is_contiguous()


@pytest.mark.cuda
def test_everything_gets_to_the_gpu() -> None:
    moved = to_device(STRUCTURE, torch.device("cuda"))
    assert moved["x"].is_cuda
    assert moved["deeper"][1]["again"].is_cuda


def test_rows_are_taken_from_what_has_them() -> None:
    found = taken({**STRUCTURE, "constant": torch.zeros(7), "scalar": torch.tensor(1.0)}, 3, torch.tensor([2, 0]))
    assert torch.equal(found["x"], X[[2, 0]])
    assert found["deeper"][0].tolist() == [2, 0]
    assert found["constant"].shape == (7,)
    assert found["scalar"].ndim == 0
