"""Fashion-MNIST made long-tailed: 10 kinds of clothing, 5,950 training images of the first down to 59 of the last."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featurecache.datasets import write_list
from featurecache.datasets.idx import open_idx
from featurecache.datasets.long_tail import LongTail

from ..fetching import debian, making, say
from .study_set import NETWORK, StudySet

RATIO = 100
VAL = 50  # images a class, about as many as the rarest class has to train with

READING = ("--grey", "--image-size", "28", "--transform", "crop=1", "--augment", "pad")
BATCHES = ("--batch-size", "128", "--amp", "bf16")


def prepare(work: Path) -> StudySet:
    """The set, divided by lists: VAL images a class to tune on, and the long tail of the rest to train with."""
    files = debian(work, "dataset-fashion-mnist") / "usr/share/datasets/fashion-mnist"
    whole = f"idx:{files}:train"
    folder = work / "data" / "fashion"
    if not folder.is_dir():
        say("fashion: the lists of train and val")
        with making(folder) as part:
            write_lists(whole, part)
    return StudySet(
        name="fashion",
        title=f"Fashion-MNIST-LT (imbalance {RATIO})",
        source="Debian package dataset-fashion-mnist, MIT licence, Zalando SE: grey images of clothing, 28 pixels.",
        shots=(200, 1500),
        splits={name: f"{whole}:only={folder / name}.txt" for name in ("train", "val")} | {"test": f"idx:{files}:test"},
        training=("--arch", f"file:{NETWORK}:features_64", *READING, "--epochs", "8", *BATCHES),
        tuning=(*READING, "--epochs", "3", "--lr", "0.02", *BATCHES),
    )


def write_lists(whole: str, folder: Path) -> None:
    """Writes train.txt and val.txt.

    whole: the balanced training data, as DATA of `rebalance`.
    """
    images = open_idx(whole, transform=None)
    rows = np.random.default_rng(0).permutation(len(images))
    val = np.concatenate([rows[images.labels[rows] == label][:VAL] for label in range(len(images.class_names))])
    left = images.subset(np.setdiff1d(rows, val))
    write_list(folder / "val.txt", images.subset(val))
    write_list(folder / "train.txt", left.subset(LongTail(RATIO).rows(left.labels)))
