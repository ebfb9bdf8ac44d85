"""A small convolutional network that learns images of 8 to 64 pixels on a CPU."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

COARSEST = 8


class ConvNet(nn.Module):
    """Logits (B, num_classes) of images (B, channels, H, W).

    Convolution, batch normalisation and ReLU; halved until the map is 4 to 8 pixels wide, at least once; averaged over
    the map; a linear classifier.

    num_classes: K.
    channels: of the images.
    width: channels of the first layer; doubled at the first two halvings.
    image_size: pixels of the images it is meant for; any size from 2 on runs.
    """

    def __init__(self, num_classes: int, channels: int = 3, width: int = 32, image_size: int = 32) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=_layer(channels, width))
        wide, pixels, stage = width, image_size, 0
        while stage == 0 or pixels > COARSEST:
            stage, pixels = stage + 1, (pixels + 1) // 2
            wider = min(2 * wide, 4 * width)
            layers[f"stage{stage}"] = nn.Sequential(_layer(wide, wider, stride=2), _layer(wider, wider))
            wide = wider
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(wide, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.pool(self.features(images)).flatten(1)
        logits: Tensor = self.classifier(features)
        return logits


def _layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))
