"""The ResNet-32 of the long-tailed CIFAR literature, for images of about 32 pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BLOCKS = 5  # a stage: 6 * 5 + 2 layers with weights
WIDTHS = (16, 32, 64)


class ResNet32(nn.Module):
    """Logits (B, num_classes) of images (B, channels, H, W).

    A convolution and three stages of five blocks of two 3x3 convolutions, 16, 32 and 64 channels wide, halved before
    the second and the third; averaged over the map; a linear classifier. Shortcuts have no parameters (option A).
    Source: He et al. (CVPR 2016), section 4.2.

    num_classes: K.
    channels: of the images.
    """

    def __init__(self, num_classes: int, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        widths = (WIDTHS[0], *WIDTHS)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(_Block(widths[i], width), *(_Block(width, width) for _ in range(BLOCKS - 1)))
            for i, width in enumerate(WIDTHS)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        logits: Tensor = self.fc(self.pool(maps).flatten(1))
        return logits


class _Block(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        out: Tensor = self.relu(inner + _shortcut(maps, inner))
        return out


def _shortcut(maps: Tensor, like: Tensor) -> Tensor:
    """The maps as they are, or every second pixel with channels of zeros on either side (option A)."""
    if maps.shape == like.shape:
        return maps
    missing = like.shape[1] - maps.shape[1]
    padding = (0, 0, 0, 0, missing // 2, missing - missing // 2)
    return torch.nn.functional.pad(maps[:, :, ::2, ::2], padding)
