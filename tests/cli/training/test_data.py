"""The data of a training that are not images in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rebalance_cli.training.data import training_transform
from rebalance_cli.training.options import DataOptions

Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

DATA = """\
import torch
from torch import nn
from torch.utils.data import Dataset


class Rows(Dataset):
    def __init__(self, rows, named=True, labelled=True):
        self.inputs = torch.randn(rows, 4, generator=torch.Generator().manual_seed(rows))
        if labelled:
            self.labels = [i % 3 for i in range(rows)]
        if named:
            self.class_names = ["a", "b", "c"]

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, row):
        return {"rows": self.inputs[row]}, row % 3

    def collate(self, items):
        return {"rows": torch.stack([x["rows"] for x, _ in items])}, torch.tensor([y for _, y in items])


def train():
    return Rows(24)


def val():
    return Rows(9)


def nameless():
    return Rows(24, named=False)


def unlabelled():
    return Rows(9, labelled=False)


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.trunk, self.fc = nn.Linear(4, 5), nn.Linear(5, num_classes)

    def forward(self, *, rows):
        return self.fc(self.trunk(rows).relu())


def net(num_classes):
    return Net(num_classes)
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rows.py"
    path.write_text(DATA, "utf-8")
    return f"file:{path}"


def test_rows_of_ones_own_train_with_their_own_batches(file: str, tmp_path: Path, answer: Answer) -> None:
    words = (f"{file}:train", "--val", f"{file}:val", "--arch", f"{file}:net", "--out", tmp_path / "x.pt")
    found = answer("train", *words, "--epochs", 2, "--batch-size", 8)
    assert (found["classes"], found["rows"], found["held_out"]) == (3, 24, 9)


@pytest.mark.parametrize(
    ("data", "val", "says"),
    [
        ("nameless", "val", "has no class_names; to train give it labels (a class id a row) and class_names"),
        ("unlabelled", "val", "has no labels; to train"),
        ("train", "unlabelled", "rows to judge by need them"),
        ("train", None, "those held out cannot be listed; give --val"),
    ],
)
def test_what_is_lacking_is_told(
    data: str, val: str | None, says: str, file: str, tmp_path: Path, refused: Refused
) -> None:
    judged = () if val is None else ("--val", f"{file}:{val}")
    words = (f"{file}:{data}", *judged, "--arch", f"{file}:net", "--out", tmp_path / "x.pt", "--epochs", 1)
    refused("train", *words, holds=(says,))


@pytest.mark.parametrize(
    ("augment", "jitter", "part"),
    [
        ("crop", 0.0, "random crop of area 0.35 to 1 and ratio 3/4 to 4/3, mirrored at random"),
        ("pad", 0.0, "moved by up to 4 pixels on black, mirrored at random"),
        ("pad", 0.4, "mirrored at random, colours changed by up to 0.4"),
        ("none", 0.4, "centre crop 32"),
    ],
)
def test_the_transform_of_training_is_said(augment: str, jitter: float, part: str) -> None:
    from featurecache.datasets import ImageTransform

    source = DataOptions(None, 0.1, None, None, False, (), augment, True, jitter)
    text = training_transform(source, ImageTransform(32)).describe()
    assert part in text
    assert ("colours" in text) == bool(jitter and augment != "none")


def test_how_much_of_an_image_a_crop_covers_may_be_said(project: Any, tmp_path: Path, misused: Refused) -> None:
    from featurecache.datasets import ImageTransform

    source = DataOptions(None, 0.1, None, None, False, (), "crop", True, 0.0, crop_scale=0.08)
    assert "random crop of area 0.08 to 1" in training_transform(source, ImageTransform(32)).describe()
    words = ("train", project.photos / "train", "--out", tmp_path / "x.pt", "--crop-scale", 0.5, "--augment", "pad")
    misused(*words, holds=("--crop-scale is of random crops",))
