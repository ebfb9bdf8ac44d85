"""Residual networks with torchvision's names."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import nn

from featurecache.models.resnet import BasicBlock, Bottleneck, ResNet

NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {"block": BasicBlock, "depths": (2, 2, 2, 2)},
    "resnet50": {"block": Bottleneck, "depths": (3, 4, 6, 3)},
    "resnet152": {"block": Bottleneck, "depths": (3, 8, 36, 3)},
    "resnext50_32x4d": {"block": Bottleneck, "depths": (3, 4, 6, 3), "groups": 32, "base": 4},
    "resnext101_64x4d": {"block": Bottleneck, "depths": (3, 4, 23, 3), "groups": 64, "base": 4},
    "wide_resnet50_2": {"block": Bottleneck, "depths": (3, 4, 6, 3), "base": 128},
}


def lively(module: nn.Module) -> nn.Module:
    """Statistics as after training: with those of a new normalisation, eval mode would hardly use it."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1, generator=generator)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2, generator=generator)  # type: ignore[arg-type]
    return module.eval()


@pytest.fixture(scope="module")
def models() -> Any:
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from featurecache.models.torchvision.library import import_torchvision

    import_torchvision()
    from torchvision import models

    return models


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_shapes_are_torchvisions(models: Any, name: str) -> None:
    with torch.device("meta"):
        ours, theirs = ResNet(**NETWORKS[name], num_classes=5), models.get_model(name, num_classes=5)
    shapes = [[(key, value.shape) for key, value in net.state_dict().items()] for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_logits_are_torchvisions(models: Any, name: str) -> None:
    torch.manual_seed(0)
    theirs = lively(models.get_model(name, num_classes=5))
    ours = ResNet(**NETWORKS[name], num_classes=5).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 75, 64)
    with torch.inference_mode():
        assert torch.equal(ours(images), theirs(images))


def test_features_are_the_flattened_average_of_the_last_map() -> None:
    module = lively(ResNet(BasicBlock, (1, 1, 1, 1), 3))
    maps, given = [], []
    module.layer4.register_forward_hook(lambda _module, _given, output: maps.append(output))  # type: ignore[union-attr]
    module.fc.register_forward_pre_hook(lambda _module, args: given.append(args[0]))  # type: ignore[union-attr]
    module(torch.randn(2, 3, 64, 64))
    assert given[0].shape == (2, 512)
    torch.testing.assert_close(given[0], maps[0].mean((2, 3)))  # float32: two orders of a sum of four


def test_a_basic_block_has_no_groups() -> None:
    with pytest.raises(ValueError, match="1 group of base width 64, not 32 of 4"):
        ResNet(BasicBlock, (1, 1, 1, 1), 3, groups=32, base=4)
