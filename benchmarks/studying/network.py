"""The residual network that the study trains from scratch on a CPU: for `--arch file:…/network.py:features_64`."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


def features_64(num_classes: int) -> nn.Module:
    """For grey images of about 28 pixels; the classifier reads 64 features. num_classes: K."""
    return Network(num_classes, (16, 32, 64))


def features_128(num_classes: int) -> nn.Module:
    """For grey images of about 32 pixels; the classifier reads 128 features. num_classes: K."""
    return Network(num_classes, (16, 32, 64, 128))


class Network(nn.Module):
    """Logits (B, num_classes) of grey images (B, 1, H, W).

    A convolution, then one residual block a width, each but the first at half the size of the one before; averaged
    over the map; a linear classifier. Source: He et al. (CVPR 2016), section 3.3, shortcuts of option B.

    num_classes: K.
    widths: channels of the blocks; the last is the number of features.
    """

    def __init__(self, num_classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        first = widths[0]
        self.stem = nn.Sequential(_convolution(1, first), nn.BatchNorm2d(first), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(_Block(first, first, 1), *(_Block(a, b, 2) for a, b in pairwise(widths)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.pool(self.blocks(self.stem(images))).flatten(1)
        logits: Tensor = self.classifier(features)
        return logits


class _Block(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(_convolution(before, after, stride, size=1), nn.BatchNorm2d(after))
        self.inner = nn.Sequential(
            _convolution(before, after, stride),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            _convolution(after, after),
            nn.BatchNorm2d(after),
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.relu(self.shortcut(maps) + self.inner(maps))
        return out


def _convolution(before: int, after: int, stride: int = 1, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, stride=stride, padding=size // 2, bias=False)
