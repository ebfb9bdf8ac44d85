"""What cannot be extracted is refused in one line, and leaves no file of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from featurecache import extract

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
    assert not [name for name in tree(tmp_path) if "train" in name]


class Two(nn.Module):
    """A model whose logits are the mean of two layers: neither makes them alone."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(12, K), nn.Linear(12, K)

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        return (self.one(flat) + self.two(flat)) / 2


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
    assert not [name for name in tree(tmp_path) if name.endswith((".h5", ".part"))]


def test_a_file_in_the_place_of_the_folder(pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any) -> None:
    (tmp_path / "file").touch()
    with refused(str(tmp_path / "file"), error=OSError):
        extract(model, {"train": pictures(7)}, tmp_path / "file")
