"""K of a checkpoint, read off shapes that follow it."""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from functools import partial

import pytest
import torch
from torch import nn

from featurecache.models.class_count import number_in
from featurecache.models.timm.library import import_timm


def network(classes: int, channels: int = 3) -> nn.Module:
    layers = {
        "stem": nn.Conv2d(channels, 4, 1),
        "gate": nn.Linear(4, 2),  # as many outputs as a trial has classes
        "norm": nn.BatchNorm2d(4),
        "scores": nn.Conv2d(4, classes, 1),
    }
    return nn.Sequential(OrderedDict(layers))


@pytest.mark.parametrize("prefix", ["", "module.", "model.net."])
@pytest.mark.parametrize("classes", [1, 2, 3, 10])
def test_the_number_is_read_whatever_stands_before_the_names(classes: int, prefix: str) -> None:
    state = {prefix + name: value for name, value in network(classes).state_dict().items()}
    assert number_in(state, network, checkpoint="w.pt") == classes


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_read_alike(channels: int) -> None:
    state = network(5, channels).state_dict()
    assert number_in(state, lambda number: network(2, number), (3, 1), checkpoint="w.pt") == channels


def test_without_the_classifier_nothing_is_told() -> None:
    state = {name: value for name, value in network(5).state_dict().items() if not name.startswith("scores")}
    assert number_in(state, network, checkpoint="w.pt") is None
    assert number_in({"other": torch.zeros(3)}, network, checkpoint="w.pt") is None
    assert number_in({"scores.weight": torch.zeros(())}, network, checkpoint="w.pt") is None


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize(
    "name", ["deit_tiny_distilled_patch16_224", "levit_128s", "crossvit_9_240", "volo_d1_224", "dla34", "repvit_m0_9"]
)
def test_families_with_several_heads_or_none_called_so(name: str) -> None:
    create = partial(import_timm().create_model, name, pretrained=False)
    with torch.device("meta"):
        state = create(num_classes=7).state_dict()
    assert number_in(state, lambda number: create(num_classes=number), checkpoint="w.pt") == 7
