"""Images and models for the device: what a decoder makes, and what looks at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from featurecache.models.convnet import ConvNet
from featurecache.models.resnet import Bottleneck, ResNet
from featurecache.models.timm.library import import_timm

CLASSES = 1000


class Pictures(Dataset[tuple[Tensor, int]]):
    """Some images over and over, 8 bits a colour: a quarter of the bytes of floats, so that moving them costs little.

    rows: how many items. size: pixels of the square. different: images that differ.
    """

    def __init__(self, rows: int, size: int, different: int = 512) -> None:
        random = torch.Generator().manual_seed(0)
        shape = min(rows, different), 3, size, size
        self.images = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
        self.labels = np.arange(rows) % CLASSES

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.images[row % len(self.images)], int(self.labels[row])

    def batch(self, start: int, rows: int) -> Tensor:
        """Some rows as one tensor."""
        return self.images[torch.arange(start, start + rows) % len(self.images)]


class FromPixels(nn.Module):
    """Logits of images (B, 3, H, W) of 8 bits: scaled to -1..1 where the model is, then through it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images.float() / 127.5 - 1)
        return logits


def _resnet50() -> nn.Module:
    return ResNet(Bottleneck, (3, 4, 6, 3), CLASSES)


def _vit_small() -> nn.Module:
    model: nn.Module = import_timm().create_model("vit_small_patch16_224", num_classes=CLASSES)
    return model


def _convnet() -> nn.Module:
    return ConvNet(CLASSES, image_size=32)


MODELS: Mapping[str, Callable[[], nn.Module]] = {"resnet50": _resnet50, "vit_small": _vit_small, "convnet": _convnet}


def opened(name: str, device: torch.device) -> nn.Module:
    """One of the models with random weights, on a device."""
    torch.manual_seed(0)
    return FromPixels(MODELS[name]()).to(device)
