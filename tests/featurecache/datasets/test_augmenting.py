"""Random crops that keep what a transform does to pixels, and refusals of transforms that cannot tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from featurecache.datasets.augmenting import augmented
from featurecache.datasets.transforms import ImageTransform, TrainTransform


@dataclass(frozen=True)
class Told:
    """A transform that does one thing and says another."""

    does: ImageTransform
    says: ImageTransform
    swapped: bool = False

    def __call__(self, image: Image.Image) -> Tensor:
        return self.does(image).flip(0) if self.swapped else self.does(image)

    def image_transform(self) -> ImageTransform:
        return self.says


PLAIN = ImageTransform(24, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), interpolation="bilinear")


def test_keeps_size_channels_normalisation_and_interpolation() -> None:
    # How the centre is cut does not matter: the crops are random.
    transform = augmented(Told(PLAIN, PLAIN.changed(crop=1.0)))
    assert transform == TrainTransform(PLAIN.changed(crop=1.0))
    torch.manual_seed(0)
    image = Image.new("RGB", (50, 40), (200, 30, 90))
    torch.testing.assert_close(transform(image), PLAIN(image))


def test_the_mirror_can_be_left_out() -> None:
    assert augmented(PLAIN).flip
    assert not augmented(PLAIN, flip=False).flip


def test_a_grey_transform_stays_grey() -> None:
    assert augmented(ImageTransform(8, channels=1))(Image.new("RGB", (20, 20))).shape == (1, 8, 8)


def test_a_transform_of_which_nothing_is_known_is_refused(refused: Any) -> None:
    with refused("has no random crops", "no method image_transform()"):
        augmented(lambda image: torch.zeros(3, 8, 8))


@pytest.mark.parametrize(
    ("told", "part"),
    [
        (Told(PLAIN, PLAIN.changed(size=23)), "it gives tensors (3, 24, 24)"),
        (Told(PLAIN, PLAIN.changed(mean=(0.5, 0.4, 0.31))), "a picture of the colour (0, 0, 0)"),
        (Told(PLAIN, PLAIN.changed(std=(0.2, 0.3, 0.41))), "a picture of the colour"),
        (Told(ImageTransform(24), ImageTransform(24), swapped=True), "a picture of the colour (200, 30, 90)"),
    ],
)
def test_a_transform_that_does_something_else_than_it_says_is_refused(told: Told, part: str, refused: Any) -> None:
    with refused("has no random crops", part):
        augmented(told)
