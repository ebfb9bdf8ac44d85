"""The ResNet-32 for CIFAR."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featurecache.models.resnet_cifar import ResNet32


def test_it_is_the_published_one() -> None:
    model = ResNet32(10)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()) == 32
    # Table 6 of the paper: 0.46 million; shortcuts without parameters.
    convolutions = 9 * (3 * 16 + 10 * 16 * 16 + 16 * 32 + 9 * 32 * 32 + 32 * 64 + 9 * 64 * 64)
    norms = 2 * (11 * 16 + 10 * 32 + 10 * 64)
    assert sum(p.numel() for p in model.parameters()) == convolutions + norms + 64 * 10 + 10 == 464_154


def test_the_stages_halve_the_map() -> None:
    model = ResNet32(10).eval()
    maps = model.layer1(model.bn1(model.conv1(torch.zeros(1, 3, 32, 32))))
    assert maps.shape == (1, 16, 32, 32)
    assert model.layer2(maps).shape == (1, 32, 16, 16)
    assert model.layer3(model.layer2(maps)).shape == (1, 64, 8, 8)


def test_a_shortcut_passes_every_second_pixel_and_adds_channels_of_zeros() -> None:
    block = ResNet32(10).layer2[0].eval()
    nn.init.zeros_(block.bn2.weight)  # type: ignore[union-attr, arg-type]  # only the shortcut is left
    maps = torch.rand(2, 16, 8, 8)
    out = block(maps)
    assert torch.equal(out[:, 8:24], maps[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (3, 33), (3, 4)])
def test_other_images_run(channels: int, size: int) -> None:
    model = ResNet32(5, channels=channels)
    logits = model(torch.randn(2, channels, size, size))
    assert logits.shape == (2, 5)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
