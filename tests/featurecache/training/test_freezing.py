"""Which part of a model trains."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from featurecache.models import ConvNet, new_model
from featurecache.training.freezing import held, last_block, trained_parts

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


def test_the_last_block_of_the_small_networks() -> None:
    convnet = ConvNet(3, width=4, image_size=32).eval()
    assert last_block(convnet, torch.zeros(2, 3, 32, 32), "classifier") == ("features.stage2",)
    resnet = new_model("resnet32", num_classes=3).eval()
    assert last_block(resnet, torch.zeros(2, 3, 32, 32), "fc") == ("layer3",)


@needs_timm
@pytest.mark.parametrize(
    ("name", "classifier", "expected"),
    [
        ("resnet18", "fc", ("layer4",)),
        ("test_vit", "head", ("blocks.5", "norm")),
        ("test_efficientnet", "classifier", ("conv_head", "bn2")),
    ],
)
def test_the_last_block_of_timms(name: str, classifier: str, expected: tuple[str, ...]) -> None:
    model = new_model(f"timm:{name}", num_classes=3, image_size=160).eval()
    found = last_block(model, torch.zeros(2, 3, 160, 160), classifier)
    assert found == expected


class Twisted(nn.Module):
    """Registered in another order than it is executed."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.last = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.never = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.first = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))

    def forward(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.last(self.first(rows))))
        return logits


def test_execution_decides_not_registration() -> None:
    assert last_block(Twisted(), torch.zeros(2, 4), "head") == ("last", "norm")


def test_the_classifier_is_never_within_the_block() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)))
    assert last_block(model, torch.zeros(2, 4), "0.2") == ("0.1",)
    assert last_block(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)), torch.zeros(2, 4), "1") == ("0",)


def test_a_model_that_is_all_classifier_has_no_block(refused: Any) -> None:
    with refused("no layer with weights runs before the classifier '0'"):
        last_block(nn.Sequential(nn.Linear(4, 3)), torch.zeros(2, 4), "0")


def test_the_parts_by_name(refused: Any) -> None:
    model, rows = Twisted(), torch.zeros(2, 4)
    assert trained_parts(model, rows, "head", "none") is None
    assert trained_parts(model, rows, "head", "backbone") == ("head",)
    assert trained_parts(model, rows, "head", "last-block") == ("last", "norm", "head")
    with refused("freeze is 'all', expected none, backbone, last-block"):
        trained_parts(model, rows, "head", "all")


def test_heads_that_are_added_are_all_classifiers() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, rows: Tensor) -> Tensor:
            found: Tensor = self.a(self.trunk(rows)) + self.b(self.trunk(rows))
            return found

    assert trained_parts(Two(), torch.zeros(2, 4), "a+b", "backbone") == ("a", "b")
    assert trained_parts(Two(), torch.zeros(2, 4), "a+b", "last-block") == ("trunk", "a", "b")


def test_what_is_held_has_no_gradients_and_stays_in_eval_mode(small: Callable[[], nn.Sequential]) -> None:
    model = small()
    model[0].bias.requires_grad_(False)  # as someone may have frozen it before
    with held(model, ("4",)) as begin:
        begin()
        assert [module.training for module in model] == [False, False, False, False, True]
        assert [p.requires_grad for p in model.parameters()] == [False] * 4 + [True] * 2
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True, True, True]
    with held(model, None) as begin:
        begin()
        assert all(module.training for module in model.modules())
        assert [p.requires_grad for p in model.parameters()] == [True, False, True, True, True, True]


def test_something_must_train(small: Callable[[], nn.Sequential], refused: Any) -> None:
    model = small()
    with refused("no parameter of the model would train"), held(model, ("2",)):
        pass
    assert all(p.requires_grad for p in model.parameters())
