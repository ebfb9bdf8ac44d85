"""The model that a training begins with, before it trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rebalance_cli.training.model import build, design
from rebalance_cli.training.options import DataOptions, ModelOptions

SOURCE = DataOptions(None, 0.1, None, None, False, (), "crop", True, 0.0)
START = ModelOptions(None, None, False, "none")


@pytest.mark.parametrize(("arch", "size"), [(None, 64), ("resnet32", 32), ("timm:resnet18", 224), ("file:x.py:f", 224)])
def test_the_size_follows_the_architecture(arch: str | None, size: int) -> None:
    made = design(ModelOptions(arch, None, False, "none"), SOURCE)
    assert (made.arch, made.plain.size, made.plain.channels) == (arch or "convnet", size, 3)


def test_a_plain_start_draws_the_weights_of_the_seed_and_nothing_else() -> None:
    from featurecache.models import new_model

    made = design(START, SOURCE)
    torch.manual_seed(7)
    begun = build(made, START, ("a", "b"), torch.zeros(2, 3, 64, 64), None)
    torch.manual_seed(7)
    plain = new_model("convnet", num_classes=2, image_size=64)
    assert all(torch.equal(a, b) for a, b in zip(begun.module.parameters(), plain.parameters(), strict=True))
    assert (begun.classifier, begun.parts, begun.notes, begun.unit_rows, begun.begun) == (None, None, [], None, None)


def test_a_loss_of_cosines_gets_its_classifier() -> None:
    from featurecache.models.normed import NormedLinear

    begun = build(design(START, SOURCE), START, ("a", "b"), torch.randn(2, 3, 64, 64), 30.0)
    assert begun.classifier == "classifier"
    layer = begun.module.get_submodule("classifier")
    assert isinstance(layer, NormedLinear)
    assert layer.scale == 30.0


def test_weights_of_a_run_are_all_taken(project: Any) -> None:
    start = ModelOptions(None, str(project.model), False, "last-block")
    begun = build(design(start, SOURCE), start, ("cat", "dog", "eel", "fox"), torch.randn(2, 3, 16, 16), None)
    saved = torch.load(project.model, weights_only=True)
    assert all(torch.equal(value, saved[name]) for name, value in begun.module.state_dict().items())
    assert begun.parts is not None
    assert begun.parts[-1] == "classifier"
    assert "frozen, in eval mode" in begun.notes[-1]
