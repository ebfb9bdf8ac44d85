"""Models of timm, with random weights from local files."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from featurecache.models.timm.library import import_timm
from featurecache.models.timm.opening import new_timm, open_timm

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

SMALL = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    return import_timm()


@pytest.mark.parametrize("name", [SMALL, "test_vit"])
def test_a_checkpoint_gives_the_same_logits(timm: ModuleType, tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    original = timm.create_model(name, num_classes=7).eval()
    torch.save({"state_dict": original.state_dict()}, tmp_path / "w.pth")
    save_file(original.state_dict(), tmp_path / "w.safetensors")
    images = torch.randn(2, 3, 160, 160)
    for file in ("w.pth", "w.safetensors"):
        model = open_timm(name, checkpoint=tmp_path / file)  # K = 7 is read from the classifier
        assert not model.module.training
        assert model.source == f"timm:{name}"
        with torch.inference_mode():
            assert torch.equal(model.module(images), original(images))


def test_the_transform_is_timms_own(timm: ModuleType, tmp_path: Path) -> None:
    original = timm.create_model(SMALL, num_classes=2)
    torch.save(original.state_dict(), tmp_path / "w.pt")
    model = open_timm(SMALL, checkpoint=tmp_path / "w.pt")
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    theirs = timm.data.create_transform(**timm.data.resolve_data_config({}, model=original))
    image = Image.fromarray(noise)
    assert torch.equal(model.transform(image), theirs(image))
    assert model.transform(image.convert("L")).shape == (3, 160, 160)
    assert "crop_pct" in model.transform_text
    assert "\n" not in model.transform_text
    again = pickle.loads(pickle.dumps(model.transform))
    assert torch.equal(again(image), model.transform(image))


def test_the_image_size_can_be_chosen(timm: ModuleType, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit", num_classes=2, img_size=96).state_dict(), tmp_path / "w.pt")
    model = open_timm("test_vit", checkpoint=tmp_path / "w.pt", image_size=96)
    pixels = model.transform(Image.new("RGB", (120, 100)))
    assert pixels.shape == (3, 96, 96)
    assert model.module(pixels[None]).shape == (1, 2)


def test_weights_of_another_model_are_refused(timm: ModuleType, tmp_path: Path, refused: Any) -> None:
    torch.save(timm.create_model("test_vit", num_classes=7).state_dict(), tmp_path / "w.pt")
    with refused("w.pt", f"of another architecture than timm:{SMALL}", "missing (first", "unexpected (first"):
        open_timm(SMALL, checkpoint=tmp_path / "w.pt", num_classes=7)


def test_a_name_timm_does_not_know_is_refused(refused: Any) -> None:
    with refused("did you mean resnet18"):
        open_timm("resnet1")
    with refused("did you mean resnet18"):
        new_timm("resnet1", num_classes=2, channels=3, image_size=32)


def test_a_checkpoint_without_a_classifier_gives_features(timm: ModuleType, tmp_path: Path) -> None:
    whole = timm.create_model(SMALL, num_classes=7).eval()
    state = {f"module.{name}": value for name, value in whole.state_dict().items() if not name.startswith("fc.")}
    torch.save(state, tmp_path / "w.pth")
    model = open_timm(SMALL, checkpoint=tmp_path / "w.pth")
    assert not model.has_head
    assert any("has no classifier: features only" in note for note in model.notes)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(whole.fc(model.module(images)), whole(images))


def test_models_that_timm_has_without_a_classifier_give_features(
    timm: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **given: create(name, **given))
    name = "convnextv2_atto.fcmae"
    model = open_timm(name, num_classes=10)
    assert not model.has_head
    assert model.module(torch.randn(1, 3, 32, 32)).shape == (1, 320)
    # Trained further with a classifier of its own, it has one.
    torch.save(create(name, num_classes=5).state_dict(), tmp_path / "w.pth")
    further = open_timm(name, checkpoint=tmp_path / "w.pth")
    assert further.has_head
    assert further.module(torch.randn(1, 3, 32, 32)).shape == (1, 5)


def test_grey_weights_make_a_grey_model(timm: ModuleType, tmp_path: Path) -> None:
    torch.save(timm.create_model(SMALL, num_classes=7, in_chans=1).state_dict(), tmp_path / "w.pth")
    model = open_timm(SMALL, checkpoint=tmp_path / "w.pth")
    assert model.module(model.transform(Image.new("RGB", (90, 70)))[None]).shape == (1, 7)


def test_averaged_weights_are_taken_when_asked_for(timm: ModuleType, tmp_path: Path) -> None:
    plain, averaged = (timm.create_model(SMALL, num_classes=7).state_dict() for _ in range(2))
    torch.save({"state_dict": plain, "state_dict_ema": averaged}, tmp_path / "w.pth")
    for ema, expected in ((False, plain), (True, averaged)):
        model = open_timm(SMALL, checkpoint=tmp_path / "w.pth", ema=ema)
        assert torch.equal(model.module.state_dict()["fc.weight"], expected["fc.weight"])


def test_the_names_of_an_architectures_authors_are_understood(timm: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = timm.create_model("convnext_atto", num_classes=7).eval()
    old = {
        "stem.0": "downsample_layers.0.0",
        "stem.1": "downsample_layers.0.1",
        "head.fc": "head",
        "head.norm": "norm",
    }
    state = {}
    for name, value in original.state_dict().items():
        for new, before in old.items():
            name = name.replace(new, before)
        if name.startswith("stages"):
            _, stage, kind, *rest = name.split(".")
            name = ".".join(["downsample_layers" if kind == "downsample" else "stages", stage, *rest])
            for new, before in {"conv_dw": "dwconv", "mlp.fc1": "pwconv1", "mlp.fc2": "pwconv2"}.items():
                name = name.replace(new, before)
        state[name] = value
    torch.save({"model": state}, tmp_path / "w.pth")
    model = open_timm("convnext_atto", checkpoint=tmp_path / "w.pth")
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model.module(images), original(images))
    assert any("given timm's names" in note for note in model.notes)


def test_without_a_checkpoint_and_a_network_the_way_out_is_told(
    timm: ModuleType, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(timm, "create_model", offline)
    with refused("could not be fetched; pass --checkpoint FILE", "no route to host"):
        open_timm(SMALL)


def test_a_trained_classifier_is_never_replaced_by_a_random_one(refused: Any) -> None:
    with refused("a classifier of 1000 classes, the data have 10; pass --checkpoint"):
        open_timm(SMALL, num_classes=10)


@pytest.mark.parametrize(("name", "channels"), [("test_resnet", 1), ("test_vit", 3)])
def test_new_models_have_the_asked_shape(name: str, channels: int) -> None:
    model = new_timm(name, num_classes=4, channels=channels, image_size=64)
    assert model(torch.randn(2, channels, 64, 64)).shape == (2, 4)


def test_a_model_that_cannot_be_built_is_refused(timm: ModuleType, refused: Any) -> None:
    with refused("timm:test_vit cannot be built for 3 x -1 x -1 images"):
        new_timm("test_vit", num_classes=4, channels=3, image_size=-1)
