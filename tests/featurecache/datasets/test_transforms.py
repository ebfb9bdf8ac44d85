"""Transforms: equal to resizing first, exact as text, and random only through torch."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featurecache.datasets.transforms import INTERPOLATIONS, ImageTransform, TrainTransform, random_box
from featurecache.models.torchvision.library import import_torchvision


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Coarse noise, enlarged: smooth enough that pixels have neighbours like them."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (200, 150), (9, 31), (32, 32)])
def test_equals_resizing_then_cutting_the_centre(width: int, height: int, interpolation: str) -> None:
    image = picture(width, height)
    transform = ImageTransform(size=28, interpolation=interpolation)
    shorter = min(width, height)
    whole = image.resize((32 * width // shorter, 32 * height // shorter), Image.Resampling[interpolation.upper()])
    left, top = round((whole.width - 28) / 2), round((whole.height - 28) / 2)
    expected = np.asarray(whole.crop((left, top, left + 28, top + 28)), np.float32).transpose(2, 0, 1) / 255
    # Pillow holds the cut's corners in float32 and rounds each of two passes to 8 bits: two levels at most.
    assert np.abs(transform(image).numpy() - expected).max() <= 2.01 / 255


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "box", "hamming"])
@pytest.mark.parametrize(("size", "crop"), [(31, 0.875), (28, 0.9), (33, 1.0)])
def test_equals_torchvision_at_odd_sizes(size: int, crop: float, interpolation: str) -> None:
    import_torchvision()
    from torchvision import transforms

    ours = ImageTransform(size, crop=crop, interpolation=interpolation)
    how = transforms.InterpolationMode(interpolation)
    steps = [transforms.Resize(round(size / crop), how), transforms.CenterCrop(size), transforms.PILToTensor()]
    theirs = transforms.Compose(steps)
    for width, height in [(37, 53), (101, 35), (49, 49), (300, 207), (35, 35)]:
        image = picture(width, height)
        # As above: the corners of the cut in float32, and 8 bits after each of two passes.
        assert float((ours(image) - theirs(image).float() / 255).abs().max()) <= 2.01 / 255


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 300))
def test_the_resized_image_is_as_large_as_torchvisions(width: int, height: int, size: int) -> None:
    # Where the longer side lands decides which pixels the centre is: exact integers, no rounded quotient before them.
    seen: list[tuple[float, ...]] = []

    class Watched(ImageTransform):
        def cut(self, image: Image.Image, box: tuple[float, float, float, float]) -> torch.Tensor:
            seen.append(box)
            return torch.empty(0)

    Watched(size, crop=1.0)(Image.new("1", (width, height)))
    left, top, right, bottom = seen[0]
    shorter, longer = sorted((width, height))
    along, across = sorted(((right - left) / width, (bottom - top) / height))
    assert across == pytest.approx(1)
    assert along == pytest.approx(size / (size * longer // shorter))


def test_normalises_each_channel() -> None:
    image = Image.new("RGB", (16, 16), (255, 0, 51))
    tensor = ImageTransform(8, mean=(0.5, 0.25, 0.2), std=(0.5, 0.25, 0.1))(image)
    assert tensor.dtype == torch.float32
    assert tensor.shape == (3, 8, 8)
    torch.testing.assert_close(tensor[:, 3, 3], torch.tensor([1.0, -1.0, 0.0]))


def test_digits_pass_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    tensor = ImageTransform(8, channels=1, crop=1.0)(Image.fromarray(pixels))
    assert np.array_equal(tensor[0].numpy(), pixels.astype(np.float32) / 255)


@pytest.mark.parametrize(("mode", "channels"), [("L", 3), ("RGB", 1)])
def test_converts_to_its_channels(mode: str, channels: int) -> None:
    assert ImageTransform(8, channels=channels)(picture(20, 20, mode)).shape == (channels, 8, 8)


def test_a_very_long_image_stays_small() -> None:
    # Resized as a whole it would be 256 x 12,800,000 pixels, 9.8 GB.
    assert ImageTransform(224)(Image.new("RGB", (1, 50_000))).shape == (3, 224, 224)


@given(
    st.integers(1, 512),
    st.sampled_from([1, 3]),
    st.floats(0.05, 1),
    st.sampled_from(sorted(INTERPOLATIONS)),
    st.floats(-10, 10),
    st.floats(1e-6, 10),
)
def test_survives_json(size: int, channels: int, crop: float, how: str, mean: float, std: float) -> None:
    transform = ImageTransform(size, channels, (mean,) * channels, (std,), crop, how)
    again = ImageTransform.from_dict(json.loads(json.dumps(transform.to_dict())))
    assert again == transform
    assert again.describe() == transform.describe()
    assert "\n" not in transform.describe()


def test_text_tells_transforms_apart() -> None:
    all_of_them = [
        ImageTransform(32),
        ImageTransform(32, channels=1),
        ImageTransform(32, crop=0.9),
        ImageTransform(32, interpolation="bilinear"),
        ImageTransform(32, mean=(0.1,)),
        ImageTransform(32, std=(0.30000000000000004,)),
        ImageTransform(32, std=(0.3,)),
    ]
    assert len({transform.describe() for transform in all_of_them}) == len(all_of_them)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": True},
        {"size": 10**9},
        {"size": 8.0},
        {"channels": 2},
        {"channels": 3.0},
        {"crop": 0.0},
        {"crop": 1.5},
        {"crop": float("nan")},
        {"crop": "1"},
        {"std": [0.0]},
        {"std": [1.0, 1.0]},
        {"mean": [float("inf")]},
        {"mean": "half"},
        {"interpolation": "area"},
        {"interpolation": ["bicubic"]},
        {"more": 1},
    ],
)
def test_strange_values_are_refused(wrong: dict[str, Any], refused: Any) -> None:
    with refused("transform: "):
        ImageTransform.from_dict({**ImageTransform(8).to_dict(), **wrong})


def test_a_missing_field_is_refused(refused: Any) -> None:
    with refused("expected a mapping with exactly size, channels"):
        ImageTransform.from_dict({"size": 8})


def test_changes_what_is_given_and_nothing_else() -> None:
    transform = ImageTransform(32, mean=(0.5,), std=(0.25,))
    assert transform.changed() == transform
    assert transform.changed(size=16, crop=1.0).to_dict() == {**transform.to_dict(), "size": 16, "crop": 1.0}
    assert transform.changed(mean=(0.1,), interpolation="nearest").std == (0.25, 0.25, 0.25)
    assert transform.image_transform() is transform


@pytest.mark.parametrize("wrong", [{"size": 0}, {"crop": 2.0}, {"mean": (1.0, 2.0)}, {"interpolation": "area"}])
def test_changes_are_checked(wrong: dict[str, Any], refused: Any) -> None:
    with refused("transform: "):
        ImageTransform(32).changed(**wrong)


def test_training_follows_torchs_seed() -> None:
    transform, image = TrainTransform(ImageTransform(16)), picture(50, 40)
    torch.manual_seed(3)
    first = [transform(image) for _ in range(4)]
    torch.manual_seed(3)
    assert all(torch.equal(a, transform(image)) for a in first)
    assert not torch.equal(first[0], first[1])


def test_flips_half_of_the_time_or_never() -> None:
    # Dark on the left: the mean of the left half tells which way round it is.
    ramp = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)))
    torch.manual_seed(0)

    def mirrored(flip: bool) -> int:
        transform = TrainTransform(ImageTransform(8, channels=1), flip=flip)
        return sum(bool(t[0, :, :4].mean() > t[0, :, 4:].mean()) for t in (transform(ramp) for _ in range(200)))

    assert mirrored(flip=False) == 0
    assert 60 < mirrored(flip=True) < 140  # 100 expected, standard deviation 7.1: more than 5 of them


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32))
def test_random_boxes_lie_inside(width: int, height: int, seed: int) -> None:
    torch.manual_seed(seed)
    left, top, right, bottom = random_box(width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_random_boxes_have_their_area_and_ratio() -> None:
    torch.manual_seed(0)
    boxes = np.array([random_box(400, 400) for _ in range(500)])
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, ratio = w * h / 160_000, w / h
    # Sides are whole pixels: half a pixel of about 200.
    assert 0.345 < area.min() < 0.45
    assert 0.85 < area.max() <= 1.0
    assert 0.74 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.345


def test_a_random_box_covers_no_less_than_is_asked() -> None:
    torch.manual_seed(0)
    boxes = np.array([random_box(400, 400, 0.08) for _ in range(500)])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 160_000
    assert 0.078 < area.min() < 0.12
    with pytest.raises(ValueError, match="scale is 0"):
        TrainTransform(ImageTransform(8), scale=0)


def test_training_text_names_the_flip() -> None:
    plain = ImageTransform(8)
    assert TrainTransform(plain, flip=True).describe() != TrainTransform(plain, flip=False).describe()
    assert plain.describe() in TrainTransform(plain).describe()
