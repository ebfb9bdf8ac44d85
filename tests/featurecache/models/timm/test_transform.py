"""timm's evaluation transform, with other values, and as random crops."""

from __future__ import annotations

import importlib.util
import json
import pickle
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from featurecache.datasets.augmenting import augmented
from featurecache.datasets.transforms import ImageTransform
from featurecache.models.timm.library import import_timm
from featurecache.models.timm.transform import TimmTransform, data_config

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

CONFIG = {
    "crop_mode": "center",
    "crop_pct": 0.875,
    "input_size": [3, 32, 32],
    "interpolation": "bicubic",
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
}


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    return import_timm()


def transform(**changes: Any) -> TimmTransform:
    return TimmTransform(json.dumps(CONFIG | changes, sort_keys=True))


def test_changes_equal_timms_transform_of_the_changed_configuration(timm: ModuleType, photo: Image.Image) -> None:
    changed = transform().changed(size=24, crop=0.8, interpolation="bilinear", mean=(0.1,), std=(1.0, 2.0, 3.0))
    config = {"input_size": (3, 24, 24), "crop_pct": 0.8, "interpolation": "bilinear", "crop_mode": "center"}
    theirs = timm.data.create_transform(**config, mean=(0.1, 0.1, 0.1), std=(1.0, 2.0, 3.0), is_training=False)
    assert torch.equal(changed(photo), theirs(photo))
    assert transform().changed() == transform()
    assert len({transform().describe(), changed.describe(), transform().changed(crop=0.8).describe()}) == 3
    assert torch.equal(pickle.loads(pickle.dumps(changed))(photo), changed(photo))


@pytest.mark.parametrize("wrong", [{"size": 0}, {"crop": 1.5}, {"interpolation": "random"}, {"mean": (1.0, 2.0)}])
def test_changes_are_checked(wrong: dict[str, Any], refused: Any) -> None:
    with refused("transform: "):
        transform().changed(**wrong)


def test_random_crops_keep_what_timm_says(timm: ModuleType) -> None:
    expected = ImageTransform(32, 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 0.875, "bicubic")
    assert augmented(transform()).evaluation == expected
    assert augmented(transform(crop_pct=1.15)).evaluation.crop == 1


def test_images_that_are_not_square_have_no_random_crops(timm: ModuleType, refused: Any) -> None:
    with refused("reads 32 x 16 pixels"):
        augmented(transform(input_size=[3, 32, 16]))


def test_grey_models_get_the_mean_of_the_means(timm: ModuleType, photo: Image.Image) -> None:
    module = timm.create_model("test_resnet", in_chans=1)
    grey = TimmTransform(data_config(module, channels=1, image_size=40))
    config = json.loads(grey.config)
    assert config["input_size"] == [1, 40, 40]
    assert config["mean"] == pytest.approx([sum(module.pretrained_cfg["mean"]) / 3])
    assert grey(photo).shape == (1, 40, 40)
    assert augmented(grey)(photo).shape == (1, 40, 40)


def test_other_channels_are_refused(timm: ModuleType, refused: Any) -> None:
    with refused("a model of 4 channels reads no images"):
        transform(input_size=[4, 32, 32], mean=[0.5] * 4, std=[0.5] * 4)
