"""Which layer the missing or the left over tensors are of."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from featurecache.datasets.transforms import ImageTransform
from featurecache.models.headless import absent_classifier, placeless_classifier, take_out, without_classifier
from featurecache.models.model import Model

TRANSFORM = ImageTransform(4, crop=1.0)
HEAD = {"head.weight": torch.ones(9, 6), "head.bias": torch.ones(9)}


def network(head: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(OrderedDict(body=body, fc=nn.Linear(6, 3) if head is None else head)).eval()


class Averaged(nn.Module):
    """Two heads, as of a distilled model."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.head_dist = network(nn.Identity()), nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.body(images)
        logits: Tensor = (self.head(x) + self.head_dist(x.square())) / 2
        return logits


def broken(_: Image.Image) -> Tensor:
    raise RuntimeError("no image")


class TestAbsent:
    """The checkpoint has no classifier."""

    def test_it_is_found_by_what_it_does(self) -> None:
        found = absent_classifier(network(), ["fc.weight", "fc.bias"], declared=[], transform=TRANSFORM)
        assert found == ("fc",)

    def test_it_is_found_by_its_declared_name(self) -> None:
        found = absent_classifier(network(), ["fc.weight", "fc.bias"], declared=["fc"], transform=None)
        assert found == ("fc",)

    def test_two_heads(self) -> None:
        missing = ["head.weight", "head.bias", "head_dist.weight", "head_dist.bias"]
        module = Averaged().eval()
        assert set(absent_classifier(module, missing, declared=[], transform=TRANSFORM)) == {"head", "head_dist"}
        assert absent_classifier(module, missing[:2], declared=[], transform=TRANSFORM) == ()

    @pytest.mark.parametrize("missing", [["fc.bias"], ["fc.weight", "fc.bias", "body.0.bias"], ["body.0.weight"]])
    def test_anything_but_the_whole_classifier_is_none(self, missing: list[str]) -> None:
        assert absent_classifier(network(), missing, declared=[], transform=TRANSFORM) == ()
        assert absent_classifier(network(), missing, declared=["fc"], transform=None) == ()

    def test_a_model_whose_classifier_cannot_be_proved_has_none(self) -> None:
        ending = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1))
        missing = ["fc.0.weight", "fc.0.bias"]
        assert absent_classifier(network(ending), missing, declared=[], transform=TRANSFORM) == ()
        assert absent_classifier(network(), ["fc.weight", "fc.bias"], declared=[], transform=broken) == ()
        assert absent_classifier(network(), ["fc.weight", "fc.bias"], declared=[], transform=None) == ()

    def test_a_model_that_is_its_classifier_cannot_lose_it(self) -> None:
        module = nn.Linear(6, 3)
        assert absent_classifier(module, ["weight", "bias"], declared=[""], transform=None) == ()

    def test_what_is_taken_out_gives_its_input(self) -> None:
        module = network()
        images = torch.randn(2, 3, 4, 4)
        expected = module.body(images)
        take_out(module, ["fc"])
        assert torch.equal(module(images), expected)


class TestPlaceless:
    """The module has no classifier."""

    def found(self, module: nn.Module, extra: dict[str, Tensor], declared: tuple[str, ...] = ()) -> tuple[str, ...]:
        return placeless_classifier(module, extra, declared=declared, transform=TRANSFORM)

    def test_an_identity_stands_in_its_place(self) -> None:
        extra = {"fc.weight": torch.ones(9, 6, 1, 1), "fc.bias": torch.ones(9)}
        assert placeless_classifier(network(nn.Identity()), extra, declared=[], transform=None) == ("fc",)

    def test_the_source_declares_it(self) -> None:
        assert placeless_classifier(network(), HEAD, declared=["head"], transform=None) == ("head",)

    def test_its_weight_is_as_wide_as_what_the_module_gives(self) -> None:
        assert self.found(network(nn.Identity()), HEAD) == ("head",)
        assert self.found(network(nn.Unflatten(1, (6, 1, 1))), HEAD) == ("head",)

    @pytest.mark.parametrize(
        "extra",
        [
            {"head.weight": torch.ones(9, 5)},
            {"head.weight": torch.ones(9, 6, 3, 3)},
            {"head.scale": torch.ones(9, 6)},
            {"head.bias": torch.ones(6)},
            {"head.weight": torch.ones(9, 6), "tail.weight": torch.ones(9, 6)},
        ],
    )
    def test_other_tensors_are_no_classifier(self, extra: dict[str, Tensor]) -> None:
        assert self.found(network(nn.Identity()), extra) == ()

    def test_a_module_that_fails_or_gives_maps_tells_nothing(self) -> None:
        module = nn.Sequential(nn.Conv2d(3, 6, 1)).eval()
        assert self.found(module, HEAD) == ()
        assert self.found(nn.Sequential(nn.Linear(7, 6)).eval(), HEAD) == ()


def test_a_models_classifier_is_taken_out() -> None:
    body = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    plain = ImageTransform(size=8)
    model = Model(nn.Sequential(body, nn.Linear(12, 5)).eval(), plain, plain.describe(), None, "x")
    images = torch.randn(2, 3, 8, 8)
    expected = body(images)
    bare = without_classifier(model)
    assert not bare.has_head
    assert "12 numbers a row" in bare.notes[-1]
    assert torch.equal(bare.module(images), expected)
    assert without_classifier(replace(bare, has_head=True)).has_head  # there is none any more: as it is
