"""Padding and cutting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featurecache.datasets import ImageTransform
from featurecache.datasets.padding import PadTransform

PLAIN = ImageTransform(16, crop=1.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
IMAGE = Image.fromarray(np.random.default_rng(0).integers(1, 255, (16, 16, 3), dtype=np.uint8))
BLACK = (-torch.tensor(PLAIN.mean) / torch.tensor(PLAIN.std))[:, None, None]


def test_every_cut_is_the_image_moved_by_at_most_two_pixels_on_black() -> None:
    expected = BLACK.repeat(1, 20, 20)
    expected[:, 2:18, 2:18] = PLAIN(IMAGE)
    cuts = [expected[:, top : top + 16, left : left + 16] for top in range(5) for left in range(5)]
    cuts += [cut.flip(-1) for cut in cuts]
    torch.manual_seed(0)
    seen = {
        next(i for i, cut in enumerate(cuts) if torch.equal(cut, found))
        for found in (PadTransform(PLAIN)(IMAGE) for _ in range(400))
    }
    assert len(seen) == 50  # each of the 50 is missed by 400 draws in 3 of 10,000 runs


def test_without_mirroring_the_image_keeps_its_hand() -> None:
    torch.manual_seed(0)
    left, right = PLAIN(IMAGE)[:, :, 0], PLAIN(IMAGE)[:, :, -1]
    for _ in range(50):
        found = PadTransform(PLAIN, flip=False)(IMAGE)
        columns = [found[:, :, i] for i in range(16)]
        at = [i for i, column in enumerate(columns) if torch.equal(column[:, 5:11], left[:, 5:11])]
        assert not at or at[0] <= 2
        assert found.is_contiguous()
    assert not torch.equal(left, right)


@pytest.mark.parametrize(("size", "move"), [(4, 1), (16, 2), (32, 4), (224, 28)])
def test_an_eighth_of_the_size_is_padded_and_said(size: int, move: int) -> None:
    transform = PadTransform(ImageTransform(size, channels=1))
    assert transform(IMAGE).shape == (1, size, size)
    assert f"moved by up to {move} pixels on black, mirrored at random" in transform.describe()
    assert PadTransform(ImageTransform(size), flip=False).describe() != PadTransform(ImageTransform(size)).describe()
