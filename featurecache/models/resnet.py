"""Residual networks with torchvision's names (He et al. 2016; ResNeXt: Xie et al. 2017), without torchvision."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

STEM, WIDTHS = 64, (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: (B, before, H, W) -> (B, width, H / stride, W / stride).

    before: channels of the input.
    width: of both convolutions.
    stride: of the first.
    groups, base: 1 and 64; other blocks know more.
    """

    expansion = 1

    def __init__(self, before: int, width: int, stride: int, groups: int, base: int) -> None:
        super().__init__()
        if (groups, base) != (1, 64):
            raise ValueError(f"a basic block has 1 group of base width 64, not {groups} of {base}")
        self.conv1 = _conv3(before, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(before, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shorter: Tensor = self.relu(out + (x if self.downsample is None else self.downsample(x)))
        return shorter


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolution beside a shortcut: (B, before, H, W) -> (B, 4 width, H / stride, W / stride).

    before: channels of the input.
    width: a quarter of those of the output.
    stride: of the 3 x 3 convolution.
    groups, base: it has `groups` groups; its channels are width times groups * base / 64.
    """

    expansion = 4

    def __init__(self, before: int, width: int, stride: int, groups: int, base: int) -> None:
        super().__init__()
        inner, after = width * base // 64 * groups, width * self.expansion
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = _conv3(inner, inner, stride, groups)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        longer: Tensor = self.relu(out + (x if self.downsample is None else self.downsample(x)))
        return longer


class ResNet(nn.Module):
    """Logits (B, num_classes) of RGB images (B, 3, H, W).

    The features before the classifier `fc` are the last map, averaged over its pixels: D = 512 for basic blocks, 2048
    for bottlenecks.

    block: BasicBlock or Bottleneck.
    depths: blocks in each of the four stages: (1, 1, 1, 1) is ResNet-10 with basic blocks, (3, 4, 6, 3) ResNet-50 with
        bottlenecks.
    num_classes: K.
    groups, base: of the bottlenecks; ResNeXt 32x4d has 32 and 4.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        num_classes: int,
        *,
        groups: int = 1,
        base: int = 64,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before, stages = STEM, []
        for stage, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True)):
            blocks = []
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(block(before, width, stride, groups, base))
                before = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _conv3(before: int, after: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, groups=groups, bias=False)


def _shortcut(before: int, after: int, stride: int) -> nn.Sequential | None:
    """None where the input has the shape of the output already."""
    if stride == 1 and before == after:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
