"""Small sound caches of every kind, as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from featurecache import extract, write
from mutating.reading import Seen, seen

WIDTH, CLASSES = 5, 3
NAMES = ["cat", "dög", "wolf"]

Files = dict[str, bytes]


@dataclass(frozen=True)
class Sound:
    """A cache as it was written.

    kind: what is special about it. files: by relative path. splits: their names. seen: what a reader sees.
    """

    kind: str
    files: Files
    splits: tuple[str, ...]
    seen: Seen


class Pictures(Dataset[tuple[Tensor, int]]):
    """Random pictures with labels and names."""

    def __init__(self, rows: int, seed: int) -> None:
        self.inputs = torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))
        self.labels = [(i + seed) % CLASSES for i in range(rows)]
        self.sample_ids = [f"ä{seed}/{i}.png" for i in range(rows)]
        self.class_names = NAMES

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.inputs[row], self.labels[row]


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _extracted(folder: Path, seed: int) -> None:
    """A model's pass: two files of train, each of two blocks, one of val; logits, head, names, digests, versions."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))
    with patch("featurecache.plan.SHARD_BYTES", 200):
        extract(model, {"train": Pictures(12, seed), "val": Pictures(5, seed + 50)}, folder, batch_size=3)


def _arrays(folder: Path, seed: int) -> None:
    """From arrays, in float32, with logits and a head, one row unlabelled."""
    head = _random(seed, CLASSES, WIDTH), _random(seed + 1, CLASSES)
    for split, rows in (("train", 9), ("val", 4)):
        labels = (torch.arange(rows) + seed) % CLASSES
        labels[1] = -1
        with patch("featurecache.writing.table.BLOCK_ROWS", 4):
            features = _random(seed + rows, rows, WIDTH)
            logits = features @ head[0].T + head[1]
            write(folder, split, features, labels, logits=logits, head=head, class_names=NAMES, dtype="float32")


def _open_ended(folder: Path, seed: int) -> None:
    """Features alone: the number of classes is the largest label met so far, and grew with the second split."""
    for split, rows, classes in (("train", 7, 2), ("val", 5, 4)):
        labels = (torch.arange(rows) + seed) % classes
        write(folder, split, _random(seed + rows, rows, WIDTH), labels)


def _views(folder: Path, seed: int) -> None:
    """Two views of every image, and names without a head."""
    labels = ((torch.arange(5) + seed) % CLASSES).repeat(2)
    with patch("featurecache.writing.table.BLOCK_ROWS", 4):
        write(folder, "train", _random(seed, 10, WIDTH), labels, class_names=NAMES, views=2)


MAKERS = (_extracted, _arrays, _open_ended, _views)


def sound_caches(folder: Path) -> list[tuple[Sound, Files]]:
    """A cache of every kind, each with the files of another of its kind: of other rows, weights and labels.

    folder: an empty one to write them in.
    """
    found = []
    for make in MAKERS:
        kind = make.__name__[1:].replace("_", "-")
        make(folder / kind, 0)
        make(folder / f"another-{kind}", 1)
        found.append((_sound(folder / kind), files_of(folder / f"another-{kind}")))
    return found


def _sound(folder: Path) -> Sound:
    files = files_of(folder)
    splits = tuple(sorted({name.split("/")[0] for name in files if "/" in name}))
    return Sound(folder.name, files, splits, seen(folder, splits))


def files_of(folder: Path) -> Files:
    """Every file under a folder, by its relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in _walk(folder)}


def _walk(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
