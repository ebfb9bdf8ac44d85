"""Models of torchvision, with random weights from local files."""

from __future__ import annotations

import importlib.util
import sys
import urllib.error
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featurecache.classifier import find_classifier
from featurecache.models import open_model
from featurecache.models.torchvision.library import import_torchvision
from featurecache.models.torchvision.opening import (
    _build,
    _classifier,
    _modern,
    new_torchvision,
    open_torchvision,
)
from featurecache.models.torchvision.presets import preset_of

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 401, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def models() -> ModuleType:
    import_torchvision()
    from torchvision import models

    return models  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def resnet(models: ModuleType) -> Any:
    torch.manual_seed(0)
    return models.resnet18(num_classes=7).eval()


def saved(path: Path, root: Any) -> Path:
    torch.save(root, path)
    return path


@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        ("resnet18", "fc"),
        ("shufflenet_v2_x0_5", "fc"),
        ("mobilenet_v3_small", "classifier.3"),
        ("mnasnet0_5", "classifier.1"),
    ],
)
def test_a_checkpoint_gives_the_same_logits_with_its_own_classes(
    models: ModuleType, tmp_path: Path, name: str, classifier: str
) -> None:
    torch.manual_seed(0)
    original = models.get_model(name, num_classes=7).eval()
    state = {f"module.{key}": value for key, value in original.state_dict().items()}
    model = open_model(f"torchvision:{name}", checkpoint=saved(tmp_path / "w.pth", {"model": state, "epoch": 3}))
    images = torch.stack([model.transform(NOISE), model.transform(NOISE.rotate(90))])
    with torch.inference_mode():
        assert torch.equal(model.module(images), original(images))
    assert not model.module.training
    assert model.class_names is None
    assert model.has_head
    assert model.notes == ()
    assert find_classifier(model.module, images).name == classifier


def test_the_transform_is_that_of_the_published_weights(models: ModuleType, resnet: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", resnet.state_dict())
    model = open_torchvision("resnet18", checkpoint=path)
    assert torch.equal(model.transform(NOISE), models.ResNet18_Weights.DEFAULT.transforms()(NOISE))
    assert model.transform_text == model.transform.describe()  # type: ignore[attr-defined]
    small = saved(tmp_path / "small.pth", models.mobilenet_v2(num_classes=2).state_dict())
    for tag, side in (("IMAGENET1K_V1", 256), ("IMAGENET1K_V2", 232), ("DEFAULT", 232)):
        text = open_torchvision(f"mobilenet_v2/{tag}", checkpoint=small).transform_text
        assert f"shorter side to {side} " in text


def test_the_image_size_can_be_chosen(models: ModuleType, resnet: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", resnet.state_dict())
    model = open_torchvision("resnet18", checkpoint=path, image_size=64)
    assert model.transform(NOISE).shape == (3, 64, 64)
    assert "shorter side to 73 " in model.transform_text


def test_a_transformer_is_built_for_the_size(models: ModuleType, tmp_path: Path) -> None:
    # The smallest of torchvision's has 86 million weights: not allocated, only asked for its shapes.
    with torch.device("meta"):
        assert new_torchvision("vit_b_32", num_classes=2, channels=3, image_size=64).encoder.pos_embedding.shape[1] == 5
        new_torchvision("maxvit_t", num_classes=2, channels=3, image_size=224)


def test_heads_that_only_training_uses_are_left_out(models: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = models.googlenet(num_classes=5, aux_logits=True, init_weights=False, transform_input=True).eval()
    model = open_torchvision("googlenet", checkpoint=saved(tmp_path / "w.pth", original.state_dict()))
    images = model.transform(NOISE)[None]
    with torch.inference_mode():
        assert torch.equal(model.module(images), original(images))
    assert "transform_input=True" in model.notes[0]


def test_inception_is_built_as_for_its_published_weights(models: ModuleType) -> None:
    assert preset_of(models.Inception_V3_Weights.DEFAULT).size == 299
    with torch.device("meta"):
        published = models.inception_v3(num_classes=5, aux_logits=True, init_weights=False)
        module = _build("inception_v3", 5, 299)
    assert module.transform_input
    assert list(_modern(published.state_dict())) == list(module.state_dict())


def test_the_published_files_of_densenet_have_other_names(models: ModuleType, tmp_path: Path) -> None:
    small = {"growth_rate": 2, "block_config": (1, 1, 1, 1), "num_init_features": 4}
    state = models.DenseNet(**small, num_classes=3).state_dict()
    old = OrderedDict(
        (name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."), value) for name, value in state.items()
    )
    assert list(old) != list(state)
    assert list(_modern(old)) == list(state)


def test_a_checkpoint_without_a_classifier_gives_features(resnet: Any, tmp_path: Path) -> None:
    state = {name: value for name, value in resnet.state_dict().items() if not name.startswith("fc.")}
    model = open_torchvision("resnet18", checkpoint=saved(tmp_path / "w.pth", state), image_size=64)
    assert not model.has_head
    assert model.notes[-1].endswith("has no classifier ('fc'): features only")
    assert model.module(model.transform(NOISE)[None]).shape == (1, 512)


def test_averaged_weights_are_taken_where_they_are_asked_for(resnet: Any, tmp_path: Path, refused: Any) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(resnet, use_buffers=True)
    plain = {name: value + 1 if value.is_floating_point() else value for name, value in resnet.state_dict().items()}
    path = saved(tmp_path / "w.pth", {"model": plain, "model_ema": averaged.state_dict()})
    for ema, state in ((False, plain), (True, resnet.state_dict())):
        module = open_model("torchvision:resnet18", checkpoint=path, ema=ema).module
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    with refused("no averaged weights"):
        open_model("torchvision:resnet18", checkpoint=saved(tmp_path / "p.pth", plain), ema=True)
    with refused("--ema chooses among the weights in a file"):
        open_model("torchvision:resnet18", ema=True)


def test_published_weights_bring_their_class_names(
    models: ModuleType, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    published = models.shufflenet_v2_x0_5().state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: published)
    model = open_torchvision("shufflenet_v2_x0_5")
    assert model.class_names == tuple(models.ShuffleNet_V2_X0_5_Weights.DEFAULT.meta["categories"])
    assert all(torch.equal(value, published[name]) for name, value in model.module.state_dict().items())
    open_torchvision("shufflenet_v2_x0_5/IMAGENET1K_V1", num_classes=1000)
    with refused("a classifier of 1000 classes, the data have 10; pass --checkpoint"):
        open_torchvision("shufflenet_v2_x0_5", num_classes=10)


def test_without_a_network_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route\nto host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with refused("IMAGENET1K_V1 could not be fetched or do not fit; pass --checkpoint FILE", "no route to host"):
        open_torchvision("shufflenet_v2_x0_5")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("resnet19", "no model 'resnet19'; did you mean resnet1"),
        ("ResNet18", "no model 'ResNet18'"),
        ("fcn_resnet50", "labels the pixels of images; expected a model that gives logits of images"),
        ("ssd300_vgg16", "finds objects in images"),
        ("r3d_18", "reads videos"),
        ("raft_small", "computes the motion between two images"),
        ("quantized_resnet18", "computes with quantized weights"),
        ("resnet18/V9", "no weights 'V9'; expected DEFAULT or IMAGENET1K_V1"),
        ("resnet18/mro", "no weights 'mro'"),
        ("vgg16/IMAGENET1K_FEATURES", "vgg16/IMAGENET1K_FEATURES has no classifier; expected IMAGENET1K_V1"),
    ],
)
def test_what_is_no_image_classifier_of_torchvision_is_refused(name: str, part: str, refused: Any) -> None:
    with refused(part):
        open_torchvision(name)


def test_weights_of_another_model_are_refused(resnet: Any, tmp_path: Path, refused: Any) -> None:
    path = saved(tmp_path / "w.pth", resnet.state_dict())
    with refused("w.pth", "of another architecture than torchvision:mobilenet_v2", "missing (first"):
        open_torchvision("mobilenet_v2", checkpoint=path)


def test_new_models_have_the_asked_classes_and_one_output() -> None:
    model = new_torchvision("shufflenet_v2_x0_5", num_classes=4, channels=3, image_size=64)
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 4)
    with torch.device("meta"):
        model = new_torchvision("inception_v3", num_classes=4, channels=3, image_size=299)
    assert not any("AuxLogits" in name for name in model.state_dict())


def test_new_models_that_cannot_be_are_refused(refused: Any) -> None:
    with refused("torchvision:resnet18 reads RGB images, not 1 channel"):
        new_torchvision("resnet18", num_classes=4, channels=1, image_size=64)
    with refused("torchvision:vit_b_32 cannot be built for 4 classes and images of 50 pixels"), torch.device("meta"):
        new_torchvision("vit_b_32", num_classes=4, channels=3, image_size=50)
    with refused("no model 'resnet19'"):
        new_torchvision("resnet19", num_classes=4, channels=3, image_size=64)


def test_every_classifier_is_the_last_layer_with_as_many_outputs(models: ModuleType) -> None:
    first = {name.rstrip("0123456789_")[:5]: name for name in reversed(models.list_models(module=models))}
    assert len(first) > 15
    for name in first.values():
        if name.startswith("regnet"):  # cannot be built without memory
            continue
        with torch.device("meta"):
            module = new_torchvision(name, num_classes=7919, channels=3, image_size=224)
        shaped = {key for key, value in module.state_dict().items() if value.shape[:1] == (7919,)}
        layer = _classifier(module, 7919)
        assert shaped in ({f"{layer}.weight"}, {f"{layer}.weight", f"{layer}.bias"})


def test_without_torchvision_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with refused("torchvision is not installed", "pip install 'featurecache-rebalance[torchvision]'"):
        open_torchvision("resnet18")
