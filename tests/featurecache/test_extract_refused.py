"""What cannot be extracted is refused in one line, and nothing that is not whole looks so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from featurecache import FeatureCache, extract

K = 3  # classes of the network


@pytest.mark.parametrize("row", [0, 1, 5, 6])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_broken_input_is_named(
    pictures: Any, row: int, value: float, model: nn.Sequential, tmp_path: Path, refused: Any, tree: Any
) -> None:
    data = pictures(7)
    data.inputs[row] = value
    with refused(repr(data.sample_ids[row]), "finite"):
        extract(model, {"train": data}, tmp_path, batch_size=2)
    # What came before the bad batch is kept for the next run; nothing of it looks finished.
    kept = ["train/00000.h5.journal", "train/00000.h5.part"] if row > 1 else []
    assert [name for name in tree(tmp_path) if "train" in name] == kept


@pytest.mark.parametrize("where", ["the first batch", "a later batch"])
def test_an_overflow_says_what_to_do(
    where: str, pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any, tree: Any
) -> None:
    data, first = pictures(7), where == "the first batch"
    row = 1 if first else 5
    data.inputs[row] *= 1e6
    with refused(repr(data.sample_ids[row]), "too large for float16", "--dtype float32"):
        extract(model, {"train": data}, tmp_path / "c", batch_size=2)
    files = tree(tmp_path / "c")
    assert [name for name in files if "train" in name] == (
        [] if first else ["train/00000.h5.journal", "train/00000.h5.part"]
    )
    # Without a row there is nothing that another dtype would contradict; else what is there is named.
    if not first:
        with refused("features dtype is float16", "asked for was float32", "another folder", "delete"):
            extract(model, {"train": data}, tmp_path / "c", batch_size=2, dtype="float32")
        assert tree(tmp_path / "c") == files
    folder = tmp_path / ("c" if first else "another")
    extract(model, {"train": data}, folder, batch_size=2, dtype="float32")
    assert float(np.max(FeatureCache(folder)["train"].features)) > 65_504


def test_a_value_that_overflowed_may_be_mended_and_the_rows_before_it_stay(
    pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any, tree: Any
) -> None:
    broken, whole = pictures(7), pictures(7)
    broken.inputs[5] *= 1e6
    with refused("too large"):
        extract(model, {"train": broken}, tmp_path / "c", batch_size=2)
    extract(model, {"train": whole}, tmp_path / "c", batch_size=2)
    assert sorted(whole.reads) == [0, 1, 4, 5, 6]  # the first two prove which layer is the classifier
    extract(model, {"train": pictures(7)}, tmp_path / "d", batch_size=2)
    assert tree(tmp_path / "c") == tree(tmp_path / "d")


class Two(nn.Module):
    """A model whose logits are the larger of two layers' outputs: no sum of them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(12, K), nn.Linear(12, K)

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        return torch.maximum(self.one(flat), self.two(flat))


def test_a_model_without_a_classifier_is_refused_with_the_candidates(
    pictures: Any, tmp_path: Path, refused: Any, tree: Any
) -> None:
    with refused("'one'", "'two'", "(3, 12)"):
        extract(Two(), {"train": pictures(7)}, tmp_path)
    assert tree(tmp_path) == {}


def changed(pictures: Any, **entries: Any) -> Any:
    """Seven pictures with other attributes."""
    data = pictures(7)
    for name, value in entries.items():
        setattr(data, name, value)
    return data


def plain_floats(pictures: Any) -> TensorDataset:
    """Pictures whose labels are no class ids."""
    return TensorDataset(pictures(7).inputs, torch.rand(7))


WRONG: dict[str, tuple[Callable[[Any], dict[str, Any]], list[str]]] = {
    "no splits": (lambda p: {"splits": {}}, ["no split"]),
    "no rows": (lambda p: {"splits": {"train": p(7), "val": p(0)}}, ["val", "no rows"]),
    "no rows at first": (lambda p: {"splits": {"train": p(0)}}, ["train", "no rows"]),
    "batch size": (lambda p: {"batch_size": 0}, ["batch_size", "0"]),
    "rank": (lambda p: {"rank": 2, "world_size": 2}, ["rank is 2 of 2", "0..1"]),
    "negative rank": (lambda p: {"rank": -1}, ["rank is -1 of 1"]),
    "no process": (lambda p: {"world_size": 0}, ["of 0 processes"]),
    "dtype": (lambda p: {"dtype": "float64"}, ["float64"]),
    "split name": (lambda p: {"splits": {"../x": p(7)}}, ["'../x'"]),
    "split as the head": (lambda p: {"splits": {"head.safetensors": p(7)}}, ["head.safetensors"]),
    "class names": (lambda p: {"class_names": ["a", "b"]}, ["3", "2", "class"]),
    "class names of the data": (
        lambda p: {"splits": {"train": changed(p, class_names=["a", "b"])}},
        ["3", "2", "class"],
    ),
    "a label too many": (
        lambda p: {"splits": {"train": changed(p, labels=[0, 1, 2, 3, 0, 0, 0])}},
        ["train", "label 3", "0..2"],
    ),
    "a label too low": (lambda p: {"splits": {"train": changed(p, labels=[0, 1, 2, -2, 0, 0, 0])}}, ["-2"]),
    "a late label too many": (
        lambda p: {"splits": {"train": TensorDataset(p(7).inputs, torch.arange(7))}},
        ["train", "label 3"],
    ),
    "float labels": (lambda p: {"splits": {"train": plain_floats(p)}}, ["float"]),
    "a class without training rows": (
        lambda p: {
            "splits": {"train": changed(p, labels=[0, 1, 0, 1, 0, 1, -1]), "val": p(3)},
            "class_names": list("xyz"),
        },
        ["class 2", "'z'", "val", "train"],
    ),
    "too few ids": (lambda p: {"splits": {"train": changed(p, sample_ids=["a"])}}, ["7", "1", "sample_ids"]),
    "too many ids": (
        lambda p: {"splits": {"train": changed(p, sample_ids=list("abcdefgh"))}},
        ["7", "8", "sample_ids"],
    ),
    "other labels than it says": (lambda p: {"splits": {"train": changed(p, labels=[0, 1, 2])}}, ["7", "3", "label"]),
    "an id too long": (lambda p: {"splits": {"train": changed(p, sample_ids=["x" * 5000] * 7)}}, ["sample id"]),
}


@pytest.mark.parametrize(("entries", "parts"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_extracted_is_refused(
    pictures: Any,
    entries: Callable[[Any], dict[str, Any]],
    parts: list[str],
    model: nn.Sequential,
    tmp_path: Path,
    refused: Any,
    tree: Any,
) -> None:
    with refused(*parts):
        extract(
            **{"model": model, "splits": {"train": pictures(7)}, "path": tmp_path, "batch_size": 2, **entries(pictures)}
        )
    assert not [name for name in tree(tmp_path) if name.endswith(".h5")]
    if parts != ["train", "label 3"]:  # which the data set did not say: it was met in the second batch
        assert not [name for name in tree(tmp_path) if name.startswith("train")]


def test_a_file_in_the_place_of_the_folder(pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any) -> None:
    (tmp_path / "file").touch()
    with refused(str(tmp_path / "file"), error=OSError):
        extract(model, {"train": pictures(7)}, tmp_path / "file")


def test_an_overflow_in_the_first_batch_comes_before_anything_is_written(
    pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any
) -> None:
    data = pictures(7)
    data.inputs[1] *= 1e6
    with refused("too large for float16", "--dtype float32"):
        extract(model, {"train": data}, tmp_path / "c", batch_size=2)
    assert list(tmp_path.iterdir()) == []
