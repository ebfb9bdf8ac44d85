"""What every candidate is given: a cache for ours, plain arrays of the same numbers for the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from comparing.questions import DECAY, SEED, WARM
from featurecache import FeatureCache, write
from rebalance import METHODS, LinearHead, Report, Shots, evaluate, tune

FILE = "material.json"
FEW = (1024, 64, 8)  # rows, columns and classes that every process fits first
DECAYS = tuple(METHODS["crt"].grid["weight_decay"])


@dataclass(frozen=True)
class Material:
    """A data set, ready to be handed out.

    name, title: of the set. folder: the arrays, the head and a note of them, `material.json`. cache: the cache itself.
    shots: the bounds of few and many. own_head: whether the classifier is the cache's own; else it was fitted here.
    """

    name: str
    title: str
    folder: Path
    cache: FeatureCache
    shots: Shots
    own_head: bool

    def facts(self) -> dict[str, Any]:
        """What is said of the set beside its table."""
        counts = self.cache.counts
        return {
            "title": self.title,
            "rows": {split: len(self.cache[split]) for split in ("train", "val", "test")},
            "width": self.cache["train"].features.shape[1],
            "dtype": str(self.cache["train"].features.dtype),
            "classes": self.cache.num_classes,
            "largest": int(counts.max()),
            "smallest": int(counts.min()),
            "few_classes": int(self.shots.groups(counts)["few"].sum()),
            "rule": self.shots.rule,
            "own_head": self.own_head,
        }

    def judge(self, log_probabilities: NDArray[np.float32]) -> Report:
        """The report of a candidate on the test rows. log_probabilities: (N, K)."""
        return evaluate(log_probabilities, self.cache["test"].labels, self.cache.counts, shots=self.shots)


def prepare(name: str, title: str, path: Path, folder: Path, *, shots: Shots | None = None) -> Material:
    """The material of a cache, its arrays written to a folder.

    name, title: of the set. path: the cache. folder: is made. shots: bounds of few and many; the paper's without.
    ValueError when a split is missing. A cache without a classifier gets a plain linear one, tuned on its val.
    """
    cache = FeatureCache(path)
    for split in ("train", "val", "test"):
        _ = cache[split]
    _hand_out(cache, path, folder)
    few = _few(folder / "few.cache")
    _hand_out(FeatureCache(few), few, folder / WARM)
    return Material(name, title, folder, cache, shots or Shots(), cache.has_head)


def _few(path: Path) -> Path:
    """A cache of rows around random class means."""
    rows, width, classes = FEW
    rng = np.random.default_rng(SEED)
    means = rng.standard_normal((classes, width))
    head = LinearHead(torch.from_numpy(means).float(), torch.zeros(classes))
    for split in ("train", "val", "test"):
        labels = rng.permutation(np.arange(rows) % classes)
        features = (means[labels] + rng.standard_normal((rows, width))).astype(np.float16)
        write(path, split, features, labels, head=head)
    return path


def _hand_out(cache: FeatureCache, path: Path, folder: Path) -> None:
    """Write a cache's arrays and classifier to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    head = LinearHead(*cache.head) if cache.has_head else plain(cache)
    head.save(folder / "head.safetensors")
    np.savez(folder / "head.npz", weight=head.weight.numpy(), bias=head.bias.numpy())
    for split in ("train", "val", "test"):
        features, labels = cache[split].features, cache[split].labels
        # Peers know no row without a label; of test every row is predicted, and those with a label judge.
        kept = slice(None) if split == "test" else labels >= 0
        np.save(folder / f"{split}.npy", np.asarray(features[:])[kept].astype(np.float32))
        np.save(folder / f"{split}_labels.npy", labels[kept])
    note = {"cache": str(path.resolve()), "classes": cache.num_classes, "decay": DECAY, "decays": DECAYS}
    (folder / FILE).write_text(json.dumps(note), encoding="utf-8")


def plain(cache: FeatureCache) -> LinearHead:
    """A linear classifier of the training rows, every row weighing the same, its decay chosen on val."""
    train, val = cache["train"], cache["val"]
    return tune(
        "logit_adjusted_loss",
        None,
        train.features,
        train.labels,
        val=(val.features, val.labels),
        grid={"tau": [0.0], "weight_decay": DECAYS},
        metric="top1",
    ).head
