"""One picture through a transform and a model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from featurecache.datasets.transforms import ImageTransform
from featurecache.models.trial import tried_model, tried_transform


def test_a_picture_arrives_in_which_places_and_channels_differ() -> None:
    image = tried_transform(ImageTransform(16), "it")
    assert image.shape == (3, 16, 16)
    assert len(image.flatten(1).T.unique(dim=0)) > 200
    assert not torch.equal(image[0], image[1])


@pytest.mark.parametrize(
    ("made", "part"),
    [
        (torch.zeros(1, 3, 4, 4), "makes torch.float32 (1, 3, 4, 4) of a picture"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "makes torch.uint8 (3, 4, 4)"),
        ([1], "makes a list"),
    ],
)
def test_what_is_no_image_tensor_is_refused(made: Any, part: str, refused: Any) -> None:
    with refused(f"it {part}", "expected a float tensor (C, H, W)"):
        tried_transform(lambda image: made, "it")


def test_failures_are_one_line(refused: Any) -> None:
    def broken(image: object) -> torch.Tensor:
        raise KeyError("two\nlines")

    with refused("it fails on an RGB picture: KeyError"):
        tried_transform(broken, "it")
    with refused("it does not run on images of 3 x 4 x 5: RuntimeError"):
        tried_model(nn.Linear(7, 2), torch.zeros(3, 4, 5), "it")


def test_what_a_model_keeps_stays_trainable() -> None:
    class Keeping(nn.Module):
        kept: torch.Tensor | None = None

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.kept = images.mean((2, 3))
            return self.kept

    module = Keeping()
    assert tried_model(module, torch.ones(3, 4, 5), "it").shape == (1, 3)
    assert module.kept is not None
    assert not module.kept.is_inference()
