"""Random changes of colour."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from featurecache.datasets import ImageTransform, TrainTransform
from featurecache.datasets.jittering import JitterTransform
from featurecache.datasets.padding import PadTransform

PLAIN = ImageTransform(12, crop=1.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
PIXELS = np.random.default_rng(0).integers(0, 255, (12, 12, 3), dtype=np.uint8)
IMAGE = Image.fromarray(PIXELS)


@dataclass(frozen=True)
class Still:
    """A training transform that draws nothing."""

    evaluation: ImageTransform = PLAIN

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self.evaluation(image)

    def describe(self) -> str:
        return self.evaluation.describe()


def test_without_strength_nothing_changes() -> None:
    torch.testing.assert_close(JitterTransform(Still(), 0.0)(IMAGE), PLAIN(IMAGE), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_pillows_enhancement_in_the_drawn_order_with_the_drawn_factors(seed: int) -> None:
    torch.manual_seed(seed)
    found = JitterTransform(Still(), 0.4)(IMAGE)
    torch.manual_seed(seed)
    kinds: list[Any] = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    image = IMAGE
    for which in torch.randperm(3).tolist():
        image = kinds[which](image).enhance(1 + 0.4 * (2 * float(torch.rand(())) - 1))
    # Pillow rounds to 8 bits after each of the three.
    allowed = 4 / 255 / min(PLAIN.std)
    torch.testing.assert_close(found, PLAIN(image), rtol=0, atol=allowed)


def test_factors_fill_their_range() -> None:
    grey = Image.new("L", (12, 12), 100)
    still = Still(ImageTransform(12, channels=1))
    torch.manual_seed(0)
    values = np.array([float(JitterTransform(still, 0.5)(grey).mean()) for _ in range(300)]) * 255 / 100
    assert 0.5 <= values.min() < 0.55
    assert 1.45 < values.max() <= 1.5
    assert abs(values.mean() - 1) < 0.06  # three standard errors of a uniform factor


def test_values_stay_within_the_colours_there_are() -> None:
    torch.manual_seed(0)
    mean, std = (torch.tensor(v)[:, None, None] for v in (PLAIN.mean, PLAIN.std))
    for kind, _ in itertools.product((TrainTransform, PadTransform), range(20)):
        pixels = JitterTransform(kind(PLAIN), 1.0)(IMAGE) * std + mean
        assert -1e-5 <= float(pixels.min()) <= float(pixels.max()) <= 1 + 1e-5


def test_workers_can_be_given_it_and_it_says_what_it_does() -> None:
    transform = JitterTransform(TrainTransform(PLAIN), 0.4)
    assert pickle.loads(pickle.dumps(transform)) == transform
    assert transform.describe() == f"{TrainTransform(PLAIN).describe()}, colours changed by up to 0.4"


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_other_strengths_are_refused(strength: float, refused: Any) -> None:
    with refused("jitter is"):
        JitterTransform(TrainTransform(PLAIN), strength)
