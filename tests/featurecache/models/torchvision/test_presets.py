"""The preset of torchvision's weights, to the bit."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featurecache.datasets.augmenting import augmented
from featurecache.models.torchvision.library import import_torchvision
from featurecache.models.torchvision.presets import TorchvisionTransform, preset_of
from featurecache.unreadable import Unreadable

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")

NOISE = np.random.default_rng(0).integers(0, 256, (333, 401, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def weights() -> Any:
    import_torchvision()
    from torchvision import models

    return models.get_model_weights


def test_every_preset_is_torchvisions_own(weights: Any) -> None:
    import_torchvision()
    from torchvision import models

    image, seen = Image.fromarray(NOISE), set()
    for name in models.list_models(module=models):
        for member in weights(name):
            transform = preset_of(member)
            if transform not in seen and transform.size < 400:
                seen.add(transform)
                assert torch.equal(transform(image), member.transforms()(image)), member
    assert len({transform.describe() for transform in seen}) == len(seen) > 10


def test_it_goes_to_other_processes(weights: Any) -> None:
    transform = preset_of(weights("resnet18").DEFAULT)
    again = pickle.loads(pickle.dumps(transform))
    assert again == transform
    assert torch.equal(again(Image.fromarray(NOISE)), transform(Image.fromarray(NOISE)))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA"])
def test_every_picture_becomes_rgb(weights: Any, mode: str) -> None:
    assert preset_of(weights("resnet18").DEFAULT)(Image.fromarray(NOISE).convert(mode)).shape == (3, 224, 224)


def test_it_says_what_it_does(weights: Any) -> None:
    assert preset_of(weights("efficientnet_b3").DEFAULT).describe() == (
        "torchvision, shorter side to 320 (bicubic), centre crop 300, RGB in [0, 1], "
        "mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]"
    )


def test_values_can_be_changed(weights: Any, refused: Any) -> None:
    own = preset_of(weights("resnet50").DEFAULT)
    assert own.changed() == own
    assert (own.changed(size=112).size, own.changed(size=112).resize) == (112, 116)  # 232 / 224 as before
    assert (own.changed(crop=0.5).size, own.changed(crop=0.5).resize) == (224, 448)
    changed = own.changed(interpolation="nearest", mean=(0.5,), std=(0.1, 0.2, 0.3))
    assert (changed.interpolation, changed.mean, changed.std) == ("nearest", (0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    assert changed(Image.fromarray(NOISE)).shape == (3, 224, 224)
    for values, part in (({"size": 0}, "size is 0"), ({"interpolation": "best"}, "'best'"), ({"std": (0.0,)}, "std")):
        with refused(part):
            own.changed(**values)


def test_the_plain_form_is_near(weights: Any) -> None:
    smooth = Image.fromarray(NOISE).resize((40, 33)).resize((401, 333), Image.Resampling.BICUBIC)
    for name in ("resnet50", "swin_t", "vgg16"):
        transform = preset_of(weights(name).DEFAULT)
        theirs, ours = transform(smooth), transform.image_transform()(smooth)
        assert theirs.shape == ours.shape
        # Both resample 8-bit pixels; one rounds the intermediate picture where the other cuts it out first.
        assert float((theirs - ours).abs().max()) <= 2 / 255 / min(transform.std)


def test_it_has_a_training_counterpart(weights: Any) -> None:
    transform = preset_of(weights("vit_b_16").DEFAULT)
    crops = augmented(transform)
    assert crops.evaluation == transform.image_transform()
    assert crops(Image.fromarray(NOISE)).shape == (3, 224, 224)


def test_a_thin_picture_is_not_blown_up(weights: Any) -> None:
    transform = preset_of(weights("resnet18").DEFAULT)
    with pytest.raises(Unreadable, match="3000 x 1 pixels is too thin"):
        transform(Image.new("RGB", (3000, 1)))
    assert transform(Image.new("RGB", (300, 1))).shape == (3, 224, 224)


def test_it_is_made_of_plain_numbers(weights: Any, tmp_path: Path) -> None:
    transform = preset_of(weights("alexnet").DEFAULT)
    assert transform == TorchvisionTransform(
        224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", transform.antialias
    )
