"""Untrained models by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from featurecache.models.architectures import new_model


def test_convnet_has_the_asked_shape() -> None:
    model = new_model("convnet", num_classes=6, channels=1, image_size=8)
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 6)


def test_resnet32_has_the_asked_shape() -> None:
    model = new_model("resnet32", num_classes=6, channels=1, image_size=32)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 6)


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_torchvisions_have_the_asked_shape() -> None:
    model = new_model("torchvision:squeezenet1_1", num_classes=6, image_size=64).eval()
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 6)


def test_weights_come_from_torchs_seed() -> None:
    def first() -> torch.Tensor:
        torch.manual_seed(5)
        return next(new_model("convnet", num_classes=2, image_size=8).parameters())

    assert torch.equal(first(), first())


def test_a_python_file_may_define_one(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make(num_classes): return nn.Linear(3, num_classes)\n")
    model = new_model(f"file:{tmp_path / 'net.py'}:make", num_classes=6)
    assert model(torch.randn(2, 3)).shape == (2, 6)


@pytest.mark.parametrize(
    ("arch", "parts"),
    [
        (
            "none",
            ["no architecture 'none'; expected convnet, resnet32, timm:NAME, torchvision:NAME or file:path.py:f"],
        ),
        ("convnet:big", ["'convnet' has no variant 'big'"]),
        ("resnet32:big", ["'resnet32' has no variant 'big'"]),
        ("run:x.pt", ["no architecture 'run:x.pt'"]),
    ],
)
def test_an_unknown_name_is_refused(arch: str, parts: list[str], refused: Any) -> None:
    with refused(*parts):
        new_model(arch, num_classes=2)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_a_bare_name_of_timms_is_recognised(refused: Any) -> None:
    with refused("architecture 'resnet18' is timm's: write timm:resnet18"):
        new_model("resnet18", num_classes=2)
