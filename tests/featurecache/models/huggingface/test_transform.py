"""Image processors as transforms: theirs to the bit, changed as they allow, and refused where they lie."""

from __future__ import annotations

import pickle
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from featurecache.datasets.augmenting import augmented
from featurecache.datasets.transforms import ImageTransform
from featurecache.models.huggingface.transform import MissingTransform, ProcessorTransform, processor_transform

SQUARE = {"height": 32, "width": 32}
CLIP = {"size": {"shortest_edge": 40}, "crop_size": SQUARE}


def made(transformers: ModuleType, kind: str, channels: int = 3, **settings: Any) -> ProcessorTransform:
    return processor_transform(transformers, getattr(transformers, f"{kind}ImageProcessorPil")(**settings), channels)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ViT", {"size": SQUARE}),
        ("CLIP", CLIP),
        ("ConvNext", {"size": {"shortest_edge": 32}, "crop_pct": 0.8}),
        ("Levit", {"size": {"shortest_edge": 32}, "crop_size": SQUARE}),
        ("MobileViT", {"size": {"shortest_edge": 40}, "crop_size": SQUARE}),
        ("EfficientNet", {"size": SQUARE, "resample": 0}),
    ],
)
def test_pixels_are_the_processors_own(
    transformers: ModuleType, photo: Image.Image, kind: str, settings: dict[str, Any]
) -> None:
    transform = made(transformers, kind, **settings)
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**settings)
    theirs = processor(images=photo, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(transform(photo), theirs)
    assert torch.equal(pickle.loads(pickle.dumps(transform))(photo), theirs)
    assert transform(photo.convert("L")).shape == theirs.shape
    assert "\n" not in transform.describe()


def test_equal_settings_give_equal_text_and_others_another(transformers: ModuleType) -> None:
    first = made(transformers, "CLIP", **CLIP)
    others = [
        made(transformers, "ViT", size=SQUARE),
        first.changed(size=24),
        first.changed(crop=0.5),
        first.changed(interpolation="nearest"),
        first.changed(mean=(0.5,)),
        first.changed(std=(0.5,)),
    ]
    assert made(transformers, "CLIP", **CLIP).describe() == first.describe() == first.changed().describe()
    assert len({transform.describe() for transform in (first, *others)}) == 7


def test_changes_arrive_in_the_pixels(transformers: ModuleType) -> None:
    transform = made(transformers, "CLIP", **CLIP)
    white = Image.new("RGB", (90, 70), "white")
    assert transform.changed(size=24)(white).shape == (3, 24, 24)
    grey = transform.changed(mean=(0.5,), std=(0.25, 0.5, 1.0))(white)
    torch.testing.assert_close(grey[:, 0, 0], torch.tensor([2.0, 1.0, 0.5]))
    ramp = Image.linear_gradient("L").convert("RGB")
    columns = transform.changed(mean=(0.0,), std=(1.0,), crop=0.5)(ramp)[0, :, 0]
    # The middle half of a ramp from 0 to 1; a column is 1/64 of it.
    assert float(columns[0]) == pytest.approx(0.25, abs=0.02)
    assert float(columns[-1]) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize(
    ("kind", "settings", "change", "part"),
    [
        ("ViT", {"size": SQUARE}, {"crop": 0.5}, "crop cannot be changed"),
        ("ViT", {"size": SQUARE}, {"size": 0}, "size is 0"),
        ("ViT", {"size": SQUARE}, {"mean": (1.0, 2.0)}, "mean is (1.0, 2.0)"),
        ("ViT", {"size": SQUARE}, {"interpolation": "area"}, "interpolation is 'area'"),
        # LeViT's enlarges by 8/7 what its settings say, MobileViT's never normalises, EfficientNet's does it twice.
        ("Levit", {"size": {"shortest_edge": 32}, "crop_size": SQUARE}, {"crop": 0.5}, "keeps 0.4"),
        ("MobileViT", CLIP, {"mean": (0.1,)}, "mean cannot be changed: with mean=(0.1, 0.1, 0.1)"),
        ("EfficientNet", {"size": SQUARE}, {"std": (0.1,)}, "std cannot be changed: with std=(0.1, 0.1, 0.1)"),
        ("ViT", {"size": SQUARE, "do_resize": False}, {"size": 24}, "with size=24 the image processor gives"),
    ],
)
def test_changes_that_would_not_arrive_are_refused(
    transformers: ModuleType, kind: str, settings: dict[str, Any], change: dict[str, Any], part: str, refused: Any
) -> None:
    with refused("transform: ", part):
        made(transformers, kind, **settings).changed(**change)


def test_random_crops_keep_size_normalisation_and_interpolation(transformers: ModuleType) -> None:
    clip = made(transformers, "CLIP", **CLIP)
    expected = ImageTransform(
        32, 3, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), 1.0, "bicubic"
    )
    assert augmented(clip).evaluation == expected
    # Normalised twice by 0.5 is once by 0.25.
    twice = augmented(made(transformers, "EfficientNet", size=SQUARE, resample=0)).evaluation
    assert (twice.mean, twice.std, twice.interpolation) == ((0.5,) * 3, (0.25,) * 3, "nearest")
    unscaled = augmented(made(transformers, "ViT", size=SQUARE, do_rescale=False)).evaluation
    assert unscaled.std == pytest.approx((0.5 / 255,) * 3, rel=1e-5)


def test_channels_in_another_order_have_no_random_crops(transformers: ModuleType, refused: Any) -> None:
    with refused("has no random crops", "a picture of the colour (200, 30, 90)"):
        augmented(made(transformers, "MobileViT", **CLIP))


def test_grey(transformers: ModuleType, photo: Image.Image, refused: Any) -> None:
    grey = made(transformers, "ViT", 1, size=SQUARE, image_mean=[0.5], image_std=[0.25])
    assert grey(photo).shape == (1, 32, 32)
    assert augmented(grey).evaluation == ImageTransform(32, 1, (0.5,), (0.25,), 1.0, "bilinear")
    with refused("a model of 4 channels reads no images"):
        made(transformers, "ViT", 4)


def test_a_processor_of_another_kind_is_refused(transformers: ModuleType, refused: Any) -> None:
    class Own(transformers.ViTImageProcessorPil):  # type: ignore[name-defined, misc]
        pass

    with refused("its image processor Own is not one of transformers' own", "--transform"):
        processor_transform(transformers, Own(), 3)


def test_a_missing_transform_says_what_it_needs(photo: Image.Image, refused: Any) -> None:
    missing = MissingTransform("hf:x has none", None, 3)
    for use in (
        lambda: missing(photo),
        lambda: missing.changed(size=8, mean=(0.5,)),
        lambda: missing.changed(mean=(0.5,), std=(0.5,)),
    ):
        with refused("hf:x has none"):
            use()
    whole = missing.changed(size=8, mean=(0.5,), std=(0.25,), crop=1.0, interpolation="nearest")
    assert whole == ImageTransform(8, 3, (0.5,), (0.25,), 1.0, "nearest")
    assert missing.describe() == "none"
