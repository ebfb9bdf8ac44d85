"""Checkpoints of real architectures, as real training programs write them, load again with their new classifier."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from featurecache.checkpoint import load_state, read_classifier, replace_in_checkpoint
from featurecache.classifier import capture, find_classifier
from featurecache.datasets.transforms import ImageTransform
from featurecache.models import open_model, save_run
from featurecache.models.convnet import ConvNet
from featurecache.models.resnet import BasicBlock, ResNet
from featurecache.models.torchvision.library import import_torchvision
from featurecache.storage import head_digest

CLASSES = 7


@pytest.fixture(scope="module")
def library() -> Callable[[str], ModuleType]:
    """timm or torchvision, where it is installed."""

    def imported(name: str) -> ModuleType:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
        vision = import_torchvision()
        if name == "torchvision":
            return vision
        import timm

        return timm

    return imported


def of_timm(library: Any, name: str, **options: Any) -> Callable[[], nn.Module]:
    return partial(library("timm").create_model, name, num_classes=CLASSES, **options)


def of_torchvision(library: Any, name: str) -> Callable[[], nn.Module]:
    return partial(getattr(library("torchvision").models, name), num_classes=CLASSES)


def small_convnext(library: Any) -> Callable[[], nn.Module]:
    convnext = library("torchvision").models.convnext
    blocks = [convnext.CNBlockConfig(8, 16, 1), convnext.CNBlockConfig(16, None, 1)]
    return partial(convnext.ConvNeXt, blocks, num_classes=CLASSES)


MODELS = {
    "timm resnet18": (lambda get: of_timm(get, "resnet18"), "fc", 32),
    "timm vit_tiny": (lambda get: of_timm(get, "vit_tiny_patch16_224", depth=1, img_size=32), "head", 32),
    "timm mobilenetv3": (lambda get: of_timm(get, "mobilenetv3_small_050"), "classifier", 32),
    "timm efficientnet": (lambda get: of_timm(get, "efficientnet_b0"), "classifier", 32),
    "torchvision resnet18": (lambda get: of_torchvision(get, "resnet18"), "fc", 32),
    "torchvision mobilenet_v3": (lambda get: of_torchvision(get, "mobilenet_v3_small"), "classifier.3", 32),
    "torchvision squeezenet": (lambda get: of_torchvision(get, "squeezenet1_1"), "classifier.1", 64),
    "torchvision convnext": (small_convnext, "classifier.2", 32),
}


def plain(model: nn.Module) -> Any:
    return model.state_dict()


def wrapped(model: nn.Module) -> Any:
    return nn.DataParallel(model).state_dict()


def of_timms_program(model: nn.Module) -> Any:
    averaged = {name: value + 1 for name, value in model.state_dict().items()}
    args = argparse.Namespace(model="resnet18", lr=0.1, betas=[0.9, 0.99])
    return {
        "epoch": 3,
        "state_dict": model.state_dict(),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "args": args,
        "state_dict_ema": averaged,
        "metric": np.float64(0.5),
    }


def of_torchvisions_program(model: nn.Module) -> Any:
    averaged = AveragedModel(model)
    return {"model": wrapped(model), "epoch": 3, "args": argparse.Namespace(lr=0.1), "model_ema": averaged.state_dict()}


def same(a: Any, b: Any) -> bool:
    """Whether two nested objects are of equal types, keys in equal order, values and tensors' bits."""
    if isinstance(a, Tensor):
        bits = [value.contiguous().reshape(-1).view(torch.uint8) for value in (a, b)]
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)
    if isinstance(a, dict):
        equal = type(a) is type(b) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
        return equal and getattr(a, "_metadata", None) == getattr(b, "_metadata", None)
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize(
    ("architecture", "layout", "ending"),
    [
        ("timm resnet18", of_timms_program, ".pth.tar"),
        ("timm vit_tiny", plain, ".pt"),
        ("timm mobilenetv3", wrapped, ".bin"),
        ("timm efficientnet", plain, ".safetensors"),
        ("torchvision resnet18", of_torchvisions_program, ".pth"),
        ("torchvision mobilenet_v3", plain, ".pth"),
        ("torchvision squeezenet", wrapped, ".pth"),
        ("torchvision convnext", plain, ".safetensors"),
    ],
)
def test_the_new_file_loads_as_the_old_one_did(
    architecture: str, layout: Callable[[nn.Module], Any], ending: str, library: Any, tmp_path: Path
) -> None:
    build, layer, size = MODELS[architecture]
    create = build(library)
    torch.manual_seed(0)
    model = create().eval()
    old = model.get_submodule(layer)
    weight, bias = torch.randn(CLASSES, old.weight.shape[1]), torch.randn(CLASSES)
    into, out = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    root = layout(model)
    save_file(root, into, {"format": "pt"}) if ending == ".safetensors" else torch.save(root, into)
    expected = head_digest(old.weight.flatten(1), old.bias)
    done = replace_in_checkpoint(into, out, recorded=layer, weight=weight, bias=bias, expected=expected)
    assert (done.layer, done.files) == (layer, (out.name,))
    read = read_classifier(out, layer=layer)
    assert same(dict(enumerate(read)), {0: weight, 1: bias})
    copied = create().eval()
    copied.load_state_dict(load_state(out), strict=True)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        old.weight.copy_(weight.view_as(old.weight))
        old.bias.copy_(bias)
        assert torch.equal(copied(images), model(images))
    if ending == ".safetensors":
        with safe_open(out, "pt") as file, safe_open(into, "pt") as before:
            assert list(file.keys()) == list(before.keys())
            assert file.metadata() == {"format": "pt"}
            assert same({name: file.get_tensor(name) for name in model.state_dict()}, dict(model.state_dict()))
    else:
        # `root` shares its tensors with the model, which has the new classifier by now.
        assert same(torch.load(out, weights_only=False), root)


def test_timms_own_loader_takes_both_kinds_of_weights(library: Any, tmp_path: Path) -> None:
    timm, create = library("timm"), of_timm(library, "test_resnet")
    torch.manual_seed(0)
    model = create()
    root = of_timms_program(model)
    del root["metric"]  # timm reads with weights_only=True too, and knows Namespace alone
    torch.save(root, tmp_path / "in.pth")
    averaged = root["state_dict_ema"]
    for ema, state in ((False, root["state_dict"]), (True, averaged)):
        out = tmp_path / f"{ema}.pth"
        old = state["fc.weight"], state["fc.bias"]
        weight = torch.randn(old[0].shape)
        done = replace_in_checkpoint(
            tmp_path / "in.pth", out, recorded="fc", weight=weight, bias=None, expected=head_digest(*old)
        )
        assert done.averaged is ema
        assert torch.equal(read_classifier(out, layer="fc", ema=ema)[0], weight)
        for use_ema in (False, True):
            loaded = create()
            with torch.serialization.safe_globals([argparse.Namespace]):
                timm.models.load_checkpoint(loaded, str(out), use_ema=use_ema, strict=True)
            wanted = averaged if use_ema else root["state_dict"]
            own = loaded.state_dict()
            assert torch.equal(own["fc.weight"], weight if use_ema is ema else wanted["fc.weight"])
            assert all(torch.equal(own[name], wanted[name]) for name in own if not name.startswith("fc."))


def test_a_classifier_of_two_layers_is_divided_between_them(library: Any, tmp_path: Path) -> None:
    create = of_timm(library, "deit_tiny_distilled_patch16_224", depth=1, img_size=32)
    torch.manual_seed(0)
    model, images = create().eval(), torch.randn(2, 3, 32, 32)
    found = find_classifier(model, images)
    weight, bias = torch.randn(found.weight.shape), torch.randn(CLASSES)
    terms = [vars(term) for term in found.layers]
    torch.save(model.state_dict(), tmp_path / "in.pt")
    expected = head_digest(found.weight, found.bias)
    done = replace_in_checkpoint(
        tmp_path / "in.pt", tmp_path / "out.pt", weight=weight, bias=bias, expected=expected, terms=terms
    )
    assert done.layer == found.name == "head+head_dist"
    copied = create().eval()
    copied.load_state_dict(torch.load(tmp_path / "out.pt", weights_only=True), strict=True)
    with torch.no_grad(), capture(model, found) as captured:
        model(images)
        # float32 sums of some hundreds of products, in another order.
        torch.testing.assert_close(copied(images), captured.features @ weight.T + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_a_run_file_stays_one(ending: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ConvNet(CLASSES, image_size=16)
    transform = ImageTransform(16).to_dict()
    names = [f"c{k}" for k in range(CLASSES)]
    into, out = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    description = {"arch": "convnet", "channels": 3, "image_size": 16, "class_names": names, "trained_on": "x"}
    save_run(into, model, {**description, "transform": transform})
    old = model.classifier
    weight = torch.randn(old.weight.shape)
    expected = head_digest(old.weight, old.bias)
    replace_in_checkpoint(into, out, recorded="classifier", weight=weight, bias=None, expected=expected)
    before, after = (open_model(f"run:{path}") for path in (into, out))
    assert after.class_names == before.class_names == tuple(names)
    assert after.transform_text == before.transform_text
    states = before.module.state_dict(), after.module.state_dict()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == [
        "classifier.weight",
        "classifier.bias",
    ]


def test_a_file_of_the_paper_opens_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ResNet(BasicBlock, [1, 1, 1, 1], CLASSES)
    state = model.state_dict()
    classifier = {f"module.{name}": state.pop(name) for name in ("fc.weight", "fc.bias")}
    body = {f"module.{name}": value for name, value in state.items()}
    into, out = tmp_path / "in.pth", tmp_path / "out.pth"
    torch.save({"epoch": 90, "state_dict_best": {"feat_model": body, "classifier": classifier}}, into)
    weight, bias = torch.randn(CLASSES, 512), torch.randn(CLASSES)
    expected = head_digest(model.fc.weight, model.fc.bias)
    replace_in_checkpoint(into, out, recorded="fc", weight=weight, bias=bias, expected=expected)
    opened = open_model(f"reference:{out}").module.state_dict()
    assert torch.equal(opened["fc.weight"], weight)
    assert torch.equal(opened["fc.bias"], bias)
    assert all(torch.equal(opened[name], value) for name, value in state.items())
