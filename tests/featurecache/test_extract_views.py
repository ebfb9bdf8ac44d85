"""Several views of every item: each drawn anew and always alike, one whole view after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from featurecache import FeatureCache, extract


@pytest.fixture
def shaken(pictures: Any) -> Any:
    """Pictures that are another every time they are asked for."""

    class Shaken(pictures):  # type: ignore[misc]
        def __getitem__(self, row: int) -> Any:
            picture, label = super().__getitem__(row)
            return picture + torch.randn(picture.shape), label

    return Shaken


def test_every_view_is_another_pass_over_the_same_items(shaken: Any, model: nn.Sequential, tmp_path: Path) -> None:
    done = extract(model, {"train": shaken(5), "val": shaken(3, 1)}, tmp_path, batch_size=4, views={"train": 3})
    assert done.written == {"train": 15, "val": 3}
    cache = FeatureCache(tmp_path, verify=True)
    train, val = cache["train"], cache["val"]
    assert (train.views, val.views) == (3, 1)
    assert train.view.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert train.sample_id.tolist() == [f"bild-ä-0/{i}.png" for i in range(5)] * 3
    assert train.labels.tolist() == [0, 1, 2, 0, 1] * 3
    assert cache.counts.tolist() == [2, 2, 1]  # images, not views
    passes = np.split(np.asarray(train.logits), 3)
    assert all((one != two).any(axis=1).all() for one, two in [passes[:2], passes[1:]])


def test_views_are_drawn_alike_in_any_batches_and_after_a_stop(
    shaken: Any, model: nn.Sequential, tmp_path: Path, tree: Any
) -> None:
    extract(model, {"train": shaken(5)}, tmp_path / "whole", batch_size=2, views={"train": 2})
    # The fourth item is read once for the proof of nothing (batches of 2), then in both views.
    with pytest.raises(KeyboardInterrupt):
        extract(model, {"train": shaken(5, breaks_at=4)}, tmp_path / "c", batch_size=2, views={"train": 2})
    extract(model, {"train": shaken(5)}, tmp_path / "c", batch_size=2, views={"train": 2})
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")
    extract(model, {"train": shaken(5)}, tmp_path / "other", batch_size=3, views={"train": 2})
    one, two = (FeatureCache(tmp_path / name)["train"].features for name in ("whole", "other"))
    np.testing.assert_allclose(one, two, rtol=2e-3, atol=1e-6)  # half precision of nearly equal numbers


def test_another_number_of_views_is_another_split(
    shaken: Any, model: nn.Sequential, tmp_path: Path, refused: Any
) -> None:
    extract(model, {"train": shaken(5)}, tmp_path, views={"train": 2})
    for views in ({}, {"train": 3}):
        with refused("train", "made from other data"):
            extract(model, {"train": shaken(5)}, tmp_path, views=views)


def test_other_augmentation_is_another_split(shaken: Any, model: nn.Sequential, tmp_path: Path, refused: Any) -> None:
    class Named:
        def __init__(self, text: str) -> None:
            self.text = text

        def describe(self) -> str:
            return self.text

    def data(text: str) -> Any:
        out = shaken(5)
        out.transform = Named(text)
        return {"train": out}

    extract(model, data("crops"), tmp_path, views={"train": 2})
    assert extract(model, data("crops"), tmp_path, views={"train": 2}).kept == ["train"]
    with refused("augmentation", "crops", "mirrors"):
        extract(model, data("mirrors"), tmp_path, views={"train": 2})


def test_views_of_no_split_are_refused(shaken: Any, model: nn.Sequential, tmp_path: Path, refused: Any) -> None:
    with refused("views of 'test'", "no such split", "train"):
        extract(model, {"train": shaken(5)}, tmp_path, views={"test": 2})
    with refused("train: 0 views"):
        extract(model, {"train": shaken(5)}, tmp_path, views={"train": 0})
