"""Proofs: every row of a split is looked at, and a person is told in one line what was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from featurecache import FeatureCache, write
from featurecache.models import Model
from rebalance import LinearHead
from rebalance_cli.exporting import proving

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """Forty rows of four features."""
    random = np.random.default_rng(0)
    write(tmp_path / "x.cache", "test", random.normal(size=(40, 4)).astype(np.float32), np.arange(40) % 3)
    return FeatureCache(tmp_path / "x.cache")


@pytest.fixture
def head() -> LinearHead:
    """Three classes."""
    return LinearHead(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("block", [proving.BLOCK, 70])
def test_one_row_of_a_split_that_is_off_fails(
    block: int, cache: FeatureCache, head: LinearHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "BLOCK", block)
    last = torch.from_numpy(np.asarray(cache["test"].features[39], np.float32))

    def made(features: torch.Tensor) -> torch.Tensor:
        return head(features) + 0.1 * (features == last).all(dim=1)[:, None]

    proof = proving.on_rows(head, cache, "test", head, "x.pt")
    assert (proof["split"], proof["rows"], proof["largest"]) == ("test", 40, 0)
    with pytest.raises(ValueError, match=r"^x\.pt does not give the head's logits: 1 of 40 rows"):
        proving.on_rows(head, cache, "test", made, "x.pt")


def opened(module: nn.Module, transform: Callable[..., Any] = torch.as_tensor) -> Model:
    """A model of that module."""
    return Model(module, transform, "plain", None, "file:x.py:f")


def test_what_a_model_computes_is_compared_with_the_head_on_what_its_classifier_is_given(head: LinearHead) -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), head.to_module())
    inputs = proving.noise(torch.randn(9, 6))

    def same(_inputs: torch.Tensor, _features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return logits

    proof = proving.on_inputs(head, opened(module), "2", inputs, same, "x.pt", device=CPU)
    assert (proof["data"], proof["rows"], proof["features"]) == (None, 9, None)
    with torch.no_grad():
        module[2].weight += 0.01  # type: ignore[operator]
    with pytest.raises(ValueError, match="does not give the head's logits"):
        proving.on_inputs(head, opened(module), "2", inputs, same, "x.pt", device=CPU)


def test_features_that_were_read_another_way_are_not_compared(cache: FeatureCache, head: LinearHead) -> None:
    module = nn.Sequential(nn.Flatten(), head.to_module())
    rows = torch.from_numpy(np.asarray(cache["test"].features, np.float32))[:5, None, None, :]
    inputs = proving.Inputs("photos", 5, lambda: iter(rows.split(2)), [str(i) for i in range(5)])

    def proof() -> dict[str, Any]:
        return proving.on_inputs(
            head, opened(module), "1", inputs, lambda i, f, z: z, "x", device=CPU, cache=cache
        )  # fmt: skip

    cache.plan.specification["transform"] = "plain"
    assert proof()["features"]["rows"] == 5
    cache.plan.specification["transform"] = "another"
    assert proof()["features"] is None


@pytest.mark.parametrize(
    ("proof", "text"),
    [
        (
            {"split": "test", "rows": 24, "largest": 1.23e-6, "tolerance": 1e-3, "close": 0},
            "24 rows of test: logits differ by at most 1.2e-06 (rounding allows 0.001), every decision is the head's",
        ),
        (
            {"data": None, "rows": 7, "largest": 0.0, "tolerance": 1e-3, "close": 2, "features": None},
            "7 random inputs, as --check names no images: logits differ by at most 0 (rounding allows 0.001), "
            "2 too close to call, every other decision is the head's",
        ),
        (
            {
                "data": "a\x1b",
                "rows": 7,
                "largest": 0.0,
                "tolerance": 1.0,
                "close": 0,
                "features": {"rows": 3, "largest": 0.5, "tolerance": 0.75},
            },
            "7 images of a\ufffd: logits differ by at most 0 (rounding allows 1), every decision is the head's; "
            "features of the 3 images in the cache differ by at most 0.5 (storage allows 0.75)",
        ),
    ],
)
def test_it_is_said_in_one_line(proof: dict[str, Any], text: str) -> None:
    assert proving.said(proof) == text


def test_images_are_read_as_the_model_reads_them(project: Any) -> None:
    def transform(image: Any) -> torch.Tensor:
        return torch.full((1, 2, 2), float(image.width))

    inputs = proving.images(str(project.photos / "test"), None, opened(nn.Flatten(), transform), None)
    assert inputs.rows == 24
    assert inputs.ids is not None
    assert inputs.ids[0] == "cat/00.png"
    assert torch.equal(torch.cat(list(inputs.batches())), torch.full((24, 1, 2, 2), 16.0))


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(
        "class Words(list):\n    pass\n\n\ndef words():\n    return Words([([1, 2], 0), ([3], 1)])\n", "utf-8"
    )
    inputs = proving.images(f"file:{tmp_path / 'words.py'}:words", None, opened(nn.Flatten()), None)
    with pytest.raises(ValueError, match="rows that are no images"):
        list(inputs.batches())
