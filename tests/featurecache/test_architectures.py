"""Real architectures with random weights: their classifier is found, captured and replaced, or truly refused."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import nn

from featurecache.classifier import capture, find_classifier, prove, replace_classifier


@pytest.fixture(scope="module")
def timm() -> Any:
    """The timm package, where it is installed."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    from featurecache.models.torchvision.library import import_torchvision

    import_torchvision()
    import timm

    return timm


@pytest.mark.parametrize(
    ("architecture", "size", "name"),
    [
        ("test_resnet", 64, "fc"),
        ("test_vit", 64, "head"),
        ("test_convnext", 64, "head.fc"),
        ("mobilenetv3_small_050", 64, "classifier"),
        ("resnetv2_50", 64, "head.fc"),
    ],
)
def test_real_architectures_are_proved_captured_and_patched(timm: Any, architecture: str, size: int, name: str) -> None:
    torch.manual_seed(0)
    model, x = timm.create_model(architecture, num_classes=7).eval(), torch.randn(2, 3, size, size)
    if architecture == "test_vit":
        model.set_input_size(img_size=(size, size))
    found = find_classifier(model, x)
    assert found.name == name
    with torch.no_grad(), capture(model, name) as captured:
        logits = model(x)
    assert prove(captured.features, found.weight, found.bias, logits) < 1e-4 * (1 + float(logits.abs().max()))
    classes, width = found.weight.shape
    new = nn.Linear(width, classes)
    with torch.no_grad():
        patched = replace_classifier(model, new, layer=name)(x)
        # The convolution and the matrix product add the same products in another order.
        torch.testing.assert_close(patched, new(captured.features), rtol=1e-4, atol=1e-4)
        assert torch.equal(model(x), logits)


@pytest.mark.parametrize(
    ("architecture", "options", "size", "name", "factors"),
    [
        ("deit_tiny_distilled_patch16_224", {"depth": 1, "img_size": 32}, 32, "head+head_dist", [0.5, 0.5]),
        ("levit_128s", {"img_size": 64}, 64, "head.linear+head_dist.linear", [0.5, 0.5]),
        ("efficientvim_m1", {}, 64, "heads.0+heads.1+heads.2+heads.3", [0.25] * 4),
    ],
)
def test_models_of_several_heads_are_proved_captured_and_patched(
    timm: Any, architecture: str, options: dict[str, int], size: int, name: str, factors: list[float]
) -> None:
    torch.manual_seed(0)
    model, x = timm.create_model(architecture, num_classes=7, **options).eval(), torch.randn(2, 3, size, size)
    found = find_classifier(model, x)
    assert found.name == name
    assert [term.factor for term in found.terms] == factors
    with torch.no_grad(), capture(model, found) as captured:
        logits = model(x)
        prove(captured.features, found.weight, found.bias, logits)
    new = nn.Linear(found.weight.shape[1], 7)
    patched = replace_classifier(model, new, layer=found)
    with torch.no_grad():
        torch.testing.assert_close(patched(x), new(captured.features), rtol=1e-4, atol=1e-4)


def test_a_model_with_a_maximum_among_its_logits_is_refused(timm: Any) -> None:
    model = timm.create_model("volo_d1_224", num_classes=7, img_size=64).eval()
    with pytest.raises(ValueError, match=r"'aux_head' Linear \(7, 384\): its input is .*'head' .*: features .* misses"):
        find_classifier(model, torch.randn(2, 3, 64, 64))
