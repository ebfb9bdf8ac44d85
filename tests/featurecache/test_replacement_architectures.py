"""Heads of every type in real architectures with random weights: a copy's logits are the head's, of its features."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from featurecache.classifier import capture, find_classifier, replace_classifier
from rebalance import LinearHead
from rebalance.head import GatedHead, NormalizedHead

CLASSES = 7


@pytest.fixture(scope="module")
def torchvision() -> Any:
    """The torchvision package, where it is installed."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from featurecache.models.torchvision.library import import_torchvision

    return import_torchvision()


def heads(classes: int, width: int) -> list[LinearHead]:
    """One of each type."""
    drawn = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=drawn) / 3

    weight, bias = draw(classes, width), draw(classes)
    return [
        LinearHead(weight, bias),
        NormalizedHead(weight, bias, center=draw(width)),
        GatedHead(weight, bias, scale=draw(classes), offset=draw(classes), gate=draw(width), gate_bias=draw(1)[0]),
    ]


def check(make: Callable[[], nn.Module], size: int, name: str) -> None:
    """The classifier is found under this name and replaced by every head; the model stays what it was."""
    torch.manual_seed(0)
    model, images = make().eval(), torch.randn(2, 3, size, size)
    state = copy.deepcopy(model.state_dict())

    def logits(network: nn.Module) -> Tensor:
        with torch.no_grad():
            found = network(images)
        return found if isinstance(found, Tensor) else found.logits

    found = find_classifier(model, images)
    assert found.name == name
    with capture(model, name) as captured:
        before = logits(model)
    for head in heads(*found.weight.shape):
        for layer in (found, name, None):
            patched = replace_classifier(model, head.to_module(), layer=layer)
            expected = head(captured.features)
            # The convolution and the matrix product add the same products in another order.
            torch.testing.assert_close(logits(patched).flatten(1), expected, rtol=1e-5, atol=1e-4)
        if type(head) is LinearHead:  # the model's own code loads it
            fresh = make().eval()
            fresh.load_state_dict(patched.state_dict())
            assert torch.equal(logits(fresh), logits(patched))
    assert torch.equal(logits(model), before)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("architecture", "options", "name"),
    [
        ("test_resnet", {}, "fc"),
        ("test_vit", {"img_size": 64}, "head"),
        ("test_convnext", {}, "head.fc"),
        ("test_efficientnet", {}, "classifier"),
        ("test_nfnet", {}, "head.fc"),
        ("test_byobnet", {}, "head.fc"),
        ("mobilenetv3_small_050", {}, "classifier"),
        ("resnetv2_50", {"layers": (1, 1, 1, 1)}, "head.fc"),  # a 1x1 convolution
        ("cait_xxs24_224", {"depth": 1, "img_size": 64}, "head"),
    ],
)
def test_timm(torchvision: Any, architecture: str, options: dict[str, Any], name: str) -> None:
    timm = pytest.importorskip("timm")
    check(lambda: timm.create_model(architecture, num_classes=CLASSES, **options), 64, name)


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("resnet18", "fc"),
        ("mobilenet_v3_small", "classifier.3"),
    ],
)
def test_torchvision(torchvision: Any, architecture: str, name: str) -> None:
    check(lambda: torchvision.models.get_model(architecture, num_classes=CLASSES), 64, name)


def test_torchvision_convnext(torchvision: Any) -> None:
    models = torchvision.models.convnext

    def make() -> Any:
        setting = [models.CNBlockConfig(8, 16, 1), models.CNBlockConfig(16, None, 1)]
        return models.ConvNeXt(setting, num_classes=CLASSES)

    check(make, 32, "classifier.2")


def test_a_convolution_with_a_map_behind_it_is_no_classifier(torchvision: Any, refused: Any) -> None:
    # Its ReLU and its mean over the map come after the convolution: no head of one vector a row can stand there.
    model = torchvision.models.squeezenet1_1(num_classes=CLASSES).eval()
    with refused("'classifier.1' Conv2d (7, 512): its input is", "expected one vector a row"):
        find_classifier(model, torch.randn(1, 3, 64, 64))


VIT = {
    **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    **{"image_size": 32, "patch_size": 8},
}


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        ("ViT", VIT, "classifier"),
        ("DeiT", VIT, "classifier"),
        ("Dinov2", VIT, "classifier"),
        ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1]}, "classifier.1"),
        ("ConvNext", {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}, "classifier"),
        (
            "Swin",
            {
                "image_size": 32,
                "patch_size": 2,
                "embed_dim": 8,
                "depths": [1, 1],
                "num_heads": [1, 2],
                "window_size": 4,
            },
            "classifier",
        ),
    ],
)
def test_transformers(torchvision: Any, kind: str, settings: dict[str, Any], name: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(**settings, num_labels=CLASSES)
    check(lambda: getattr(transformers, f"{kind}ForImageClassification")(config), 32, name)


def test_two_heads_that_are_averaged_take_a_linear_one_only(torchvision: Any, refused: Any) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.DeiTForImageClassificationWithTeacher(
        transformers.DeiTConfig(**VIT, num_labels=CLASSES)
    ).eval()
    images = torch.randn(2, 3, 32, 32)
    found = find_classifier(model, images)
    linear, *others = heads(*found.weight.shape)
    with torch.no_grad(), capture(model, found) as captured:
        model(images)
    with torch.no_grad():
        patched = replace_classifier(model, linear.to_module(), layer=found)(images).logits
    torch.testing.assert_close(patched, linear(captured.features), rtol=1e-5, atol=1e-5)
    for head in others:
        with refused("'cls_classifier+distillation_classifier' is made of 2 layer(s)", "expected an nn.Linear"):
            replace_classifier(model, head.to_module(), layer=found)
    with refused("no layer (K, D) = (7, 32)"):
        replace_classifier(model, linear.to_module())
