"""The small network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featurecache.models.convnet import ConvNet


@pytest.mark.parametrize("size", [8, 16, 28, 32, 64, 224])
def test_the_last_map_is_4_to_8_pixels(size: int) -> None:
    model = ConvNet(5, channels=1, width=4, image_size=size).eval()
    maps = model.features(torch.zeros(1, 1, size, size))
    assert 4 <= maps.shape[-1] <= 8
    assert maps.shape[-1] < size


def test_the_classifier_is_a_plain_linear_layer_on_the_pooled_features() -> None:
    model = ConvNet(7, channels=3, width=8, image_size=32).eval()
    images = torch.randn(4, 3, 32, 32)
    assert isinstance(model.classifier, nn.Linear)
    features = model.features(images).mean((2, 3))
    torch.testing.assert_close(model(images), features @ model.classifier.weight.T + model.classifier.bias)


@pytest.mark.parametrize("size", [2, 5, 40])
def test_other_sizes_run(size: int) -> None:
    assert ConvNet(3, width=4)(torch.randn(2, 3, size, size)).shape == (2, 3)
