"""Untrained models, to be trained from scratch: one line an architecture."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from featurecache.models.convnet import ConvNet
from featurecache.models.python_file import new_from_file
from featurecache.models.resnet_cifar import ResNet32
from featurecache.models.timm.library import knows
from featurecache.models.timm.opening import new_timm
from featurecache.models.torchvision.opening import new_torchvision
from featurecache.quoting import shown


class Builder(Protocol):
    """Builds the architecture of a name after the colon."""

    def __call__(self, name: str, *, num_classes: int, channels: int, image_size: int) -> nn.Module: ...


def new_convnet(name: str, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """The small network of this project.

    name: nothing; it has one form.
    num_classes, channels, image_size: K, channels and pixels of the images.
    """
    if name:
        raise ValueError(f"architecture 'convnet' has no variant {shown(name)}; write convnet")
    return ConvNet(num_classes, channels=channels, image_size=image_size)


def new_resnet32(name: str, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """The ResNet-32 for images of about 32 pixels.

    name: nothing; it has one form.
    num_classes, channels: K and channels of the images. image_size: any from 4 on.
    """
    if name:
        raise ValueError(f"architecture 'resnet32' has no variant {shown(name)}; write resnet32")
    return ResNet32(num_classes, channels=channels)


ARCHITECTURES: dict[str, Builder] = {
    "convnet": new_convnet,
    "resnet32": new_resnet32,
    "timm": new_timm,
    "torchvision": new_torchvision,
    "file": new_from_file,
}


def new_model(arch: str, *, num_classes: int, channels: int = 3, image_size: int = 224) -> nn.Module:
    """A model with random weights, from torch's default generator.

    arch: convnet, resnet32, timm:NAME, torchvision:NAME or file:path.py:function.
    num_classes: K.
    channels: 1 or 3.
    image_size: pixels of the square it will read.
    Raises ValueError when there is no such architecture or it cannot be built like this.
    """
    kind, _, name = arch.partition(":")
    if kind in ARCHITECTURES:
        return ARCHITECTURES[kind](name, num_classes=num_classes, channels=channels, image_size=image_size)
    if knows(arch):
        raise ValueError(f"architecture {shown(arch)} is timm's: write timm:{arch}")
    expected = "convnet, resnet32, timm:NAME, torchvision:NAME or file:path.py:function"
    raise ValueError(f"no architecture {shown(arch)}; expected {expected}")
