"""Read a cache: ``FeatureCache(path)["train"].features`` is a memory map.

Nothing a file says is believed before it is checked, nothing is allocated for it, and no HDF5 call is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from featurecache import disk, layout
from featurecache.plan import missing_shards, read_plan
from featurecache.quoting import shown
from featurecache.reading.split import Split
from featurecache.reading.verification import damages, damages_there
from featurecache.storage import head_digest
from featurecache.writer import committed_rows


class UnknownSplit(KeyError, ValueError):
    """A split that the cache does not have; both a KeyError and a ValueError, with a message that is one line."""

    def __str__(self) -> str:
        return str(self.args[0])


class FeatureCache(Mapping[str, Split]):
    """A cache on disk; ``cache["train"]`` is a Split, ``cache.head`` the classifier its features belong to.

    path: the folder, which may lie on a read-only or network disk. Opening checks headers and sizes only.
    verify: also read everything and compare it with its checksums, see `verify`.
    FileNotFoundError or ValueError, in one line, when it is not a cache this release reads. A split whose extraction
    is unfinished is refused when it is asked for.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = False) -> None:
        self.path = Path(os.path.abspath(path))  # also after a chdir
        self.plan = read_plan(self.path)
        self._open: dict[str, Split] = {}
        self._verified: set[str] = set()
        if verify:
            self.verify()

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureCache, (self.path,)

    def __getitem__(self, split: str) -> Split:
        if split not in self.plan.splits:
            there = ", ".join(self.plan.splits) or "none"
            raise UnknownSplit(f"{self.path}: no split {split[:80]!r}; there are: {there}")
        if split not in self._open:
            if missing := missing_shards(self.path, split, self.plan.splits[split]):
                file = layout.shard_path(self.path, split, missing[0])
                raise ValueError(
                    f"{file}: missing: split {split!r} is incomplete ({len(missing)} of its files are not there); "
                    "run the same extraction again, it goes on where it stopped"
                )
            self._open[split] = Split(self.path, split, self.plan)
        return self._open[split]

    def verify(self, splits: Iterable[str] | None = None, *, rank: int = 0, world_size: int = 1) -> None:
        """Compare every block with its checksum, and look for NaN, infinity, bad labels and rows out of place.

        splits: names of complete ones; by default every file that is there, and the head. What was verified once is
        not read again.
        rank, world_size: with several processes that work together each looks at its part of the files of those splits.
        ValueError naming the first file, rows and column that are bad; `rebalance verify` lists them all.
        """
        for name in self.plan.splits if splits is None else splits:
            if name not in self._verified:
                there = splits is None and name not in self.complete
                mine = damages_there(self.path, self.plan, name) if there else damages(self[name], rank, world_size)
                for damage in mine:
                    raise ValueError(damage.message)
                if not there:
                    self._verified.add(name)
        if splits is None:
            self._check_classes()
            if self.has_head:
                _ = self.head

    def _check_classes(self) -> None:
        """Where K is only the largest label met so far, one of the files has met it."""
        if self.plan.is_open_ended and self.plan.splits and self.complete == list(self.plan.splits):
            known = max(shard.header.cache["classes"] for name in self for shard in self[name].shards)
            if known != self.num_classes:
                raise ValueError(
                    f"{self.path / layout.CACHE_FILE}: classes is {self.num_classes}, its shards know of {known}: "
                    "the file was edited or is damaged; `rebalance info --rebuild` makes it again"
                )

    @property
    def complete(self) -> list[str]:
        """The splits all of whose files are there."""
        return [name for name, split in self.plan.splits.items() if not missing_shards(self.path, name, split)]

    def __contains__(self, split: object) -> bool:
        return split in self.plan.splits

    def __iter__(self) -> Iterator[str]:
        return iter(self.plan.splits)

    def __len__(self) -> int:
        return len(self.plan.splits)

    @property
    def hash(self) -> str:
        """SHA-256 of the specification: caches of equal hash hold features of one model, made one way."""
        return self.plan.hash

    @property
    def num_classes(self) -> int:
        """K."""
        return self.plan.classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """K names in column order, or None."""
        return self.plan.class_names

    @property
    def has_head(self) -> bool:
        """Whether there is a classifier the features belong to."""
        return self.plan.specification.get("head") is not None

    @cached_property
    def head(self) -> tuple[Tensor, Tensor]:
        """Weight (K, D) and bias (K,), float32; ValueError where the cache has none or the file is another's."""
        file = self.path / layout.HEAD_FILE
        if not self.has_head:
            raise ValueError(f"{self.path}: this cache has no head; methods that need none (ncm, crt) still work")
        try:
            tensors = load(disk.read_head(file, self._head_bytes()))
            weight, bias = tensors["weight"], tensors["bias"]
        except (OSError, SafetensorError, KeyError) as error:
            raise ValueError(f"{file}: the cache's head cannot be read ({shown(error)}); extract again") from error
        if weight.ndim != 2 or len(weight) != self.num_classes or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"{file}: weight {tuple(weight.shape)}, bias {tuple(bias.shape)}; expected {self.num_classes} classes"
            )
        features = self.plan.specification.get("features")
        if isinstance(features, dict) and weight.shape[1] != features.get("width"):
            raise ValueError(
                f"{file}: weight {tuple(weight.shape)}; expected {str(features.get('width'))[:40]!r} columns, "
                "the features' width; extract again"
            )
        if not (weight.is_floating_point() and bias.is_floating_point()):
            raise ValueError(f"{file}: weight {weight.dtype}, bias {bias.dtype}; expected floats")
        weight, bias = weight.float(), bias.float()
        if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise ValueError(f"{file}: the cache's head holds NaN or infinity; extract again")
        if head_digest(weight, bias) != self.plan.specification["head"]:
            raise ValueError(f"{file}: weight {tuple(weight.shape)} is not the head of this cache; extract again")
        return weight, bias

    def _head_bytes(self) -> int:
        """More than any head of these classes on these features takes: what is longer is not read to its end."""
        width = self.plan.specification.get("features", {}).get("width")
        if type(width) is not int or not 0 < width <= layout.MAX_WIDTH:
            raise ValueError(f"{self.path / layout.CACHE_FILE}: features width is {str(width)[:40]}; expected a number")
        return 8 * self.num_classes * (width + 1) + 2**16

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(K,) training images a class: those of the split called train, each counted once for all its views."""
        train = self["train"]
        labels = train.labels[: len(train) // train.views]
        return np.bincount(labels[labels >= 0], minlength=self.num_classes)

    def describe(self) -> dict[str, Any]:
        """What is in the cache, as plain JSON values: splits, shapes, class counts, provenance, what is unfinished."""
        splits: dict[str, Any] = {}
        for name, plan in self.plan.splits.items():
            missing = missing_shards(self.path, name, plan)
            entry: dict[str, Any] = {"rows": plan.rows, "views": plan.views, "seen": plan.seen, "files": plan.shards}
            entry |= {"missing_files": len(missing), "complete": not missing, "made_with": plan.made_with}
            if missing:
                lost = sum(plan.bounds[shard + 1] - plan.bounds[shard] for shard in missing)
                begun = sum(committed_rows(self.path, self.plan, name, shard) for shard in missing)
                entry["rows_done"] = plan.rows - lost + begun
            if not missing:
                split = self[name]
                labels = split.labels
                entry["features"] = [*split.features.shape]
                entry["dtype"] = str(split.features.dtype)
                entry["logits"] = [*split.logits.shape] if split.stores_logits else None
                entry["bytes"] = split.nbytes
                entry["unlabelled"] = int((labels < 0).sum())
                entry["unreadable"] = int((split.status == 1).sum())
                entry["class_counts"] = np.bincount(labels[labels >= 0], minlength=self.num_classes).tolist()
            splits[name] = entry
        return {
            "path": str(self.path),
            "schema": list(layout.SCHEMA),
            "hash": self.hash,
            "classes": self.num_classes,
            "class_names": None if self.class_names is None else list(self.class_names),
            "has_head": self.has_head,
            "specification": self.plan.specification,
            "splits": splits,
        }

    def __repr__(self) -> str:
        return f"FeatureCache({str(self.path)!r}, splits={list(self.plan.splits)}, classes={self.num_classes})"
