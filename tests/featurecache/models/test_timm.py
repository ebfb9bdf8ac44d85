"""Models of timm, with random weights from local files."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from featurecache.models.timm import import_timm, knows, new_timm, open_timm

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


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("resnet1", "did you mean resnet18"),
        ("hf-hub:someone/model", "timm has no model"),
        ("test_resnet.none", "has no weights 'none'"),
    ],
)
def test_a_name_timm_does_not_know_is_refused(name: str, part: str, refused: Any) -> None:
    with refused(part):
        open_timm(name)
    with refused(part):
        new_timm(name, num_classes=2, channels=3, image_size=32)


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


def test_names_are_known() -> None:
    assert knows("resnet18")
    assert not knows("convnet")


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with refused("timm is not installed", "pip install 'featurecache-rebalance[timm]'"):
        open_timm(SMALL)
    assert not knows("resnet18")
