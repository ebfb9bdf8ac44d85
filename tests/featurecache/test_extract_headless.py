"""A backbone without a classifier: its output, or a layer's, is cached, and methods that need no head go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from featurecache import FeatureCache, extract


@pytest.fixture
def backbone(model: nn.Sequential) -> nn.Sequential:
    """The network without its last layer."""
    return model[:-1]


@pytest.mark.parametrize("layer", [None, "3"])
def test_the_output_is_cached_without_head_and_logits(
    layer: str | None, backbone: nn.Sequential, pictures: Any, tmp_path: Path
) -> None:
    done = extract(backbone, {"train": pictures(7)}, tmp_path, head=False, layer=layer, dtype="float32")
    assert done.layer == layer
    cache = FeatureCache(tmp_path, verify=True)
    assert not cache.has_head
    assert not cache["train"].stores_logits
    assert cache.class_names == ("cat", "dog", "wolf")
    with torch.no_grad():
        expected = backbone.eval()(pictures(7).inputs)
    np.testing.assert_allclose(cache["train"].features, expected, rtol=1e-6, atol=1e-7)


def test_a_classifier_is_not_looked_for(model: nn.Sequential, pictures: Any, tmp_path: Path) -> None:
    extract(model, {"train": pictures(7)}, tmp_path, head=False, layer="4")
    cache = FeatureCache(tmp_path)
    assert not cache.has_head
    assert cache["train"].features.shape == (7, 5)


def test_another_layer_or_a_head_is_another_cache(
    model: nn.Sequential, pictures: Any, tmp_path: Path, refused: Any
) -> None:
    extract(model, {"train": pictures(7)}, tmp_path, head=False, layer="4")
    assert extract(model, {"train": pictures(7)}, tmp_path, head=False, layer="4").kept == ["train"]
    with refused("another extraction", "layer"):
        extract(model, {"train": pictures(7)}, tmp_path, head=False, layer="2")
    with refused("another extraction"):
        extract(model, {"train": pictures(7)}, tmp_path)


def test_splits_that_come_later_may_know_more_classes(backbone: nn.Sequential, pictures: Any, tmp_path: Path) -> None:
    def data(*labels: int) -> Any:
        out = pictures(len(labels))
        out.labels, out.class_names = list(labels), None
        return out

    extract(backbone, {"train": data(0, 1, 2)}, tmp_path, head=False)
    assert FeatureCache(tmp_path).num_classes == 3
    extract(backbone, {"extra": data(0, 5)}, tmp_path, head=False)
    assert FeatureCache(tmp_path).num_classes == 6
    assert extract(backbone, {"train": data(0, 1, 2)}, tmp_path, head=False).kept == ["train"]


def test_numbers_that_are_not_finite_are_refused_with_the_sample(
    backbone: nn.Sequential, pictures: Any, tmp_path: Path, refused: Any
) -> None:
    data = pictures(7)
    data.inputs[3] = torch.nan
    with refused("NaN or infinity", "bild-ä-0/3.png", "train"):
        extract(backbone, {"train": data}, tmp_path, head=False)


def test_an_output_that_is_no_row_of_features_is_refused(pictures: Any, tmp_path: Path, refused: Any) -> None:
    with refused("(7, 3, 2, 2)"):
        extract(nn.Identity(), {"train": pictures(7)}, tmp_path, head=False)
