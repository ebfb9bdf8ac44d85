"""Read a cache: ``FeatureCache(path)["train"].features`` is a memory map.

Nothing a file says is believed before it is checked, nothing is allocated for it, and no HDF5 call is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from featurecache import disk, layout
from featurecache.plan import CachePlan, missing_shards, read_plan
from featurecache.sharded import ShardedArray
from featurecache.storage import head_digest


class UnknownSplit(KeyError, ValueError):
    """A split that the cache does not have; both a KeyError and a ValueError, with a message that is one line."""

    def __str__(self) -> str:
        return str(self.args[0])


Array: TypeAlias = NDArray[Any] | ShardedArray


class Split:
    """One split of a cache; N rows in the order of the data they came from.

    name: of the split. seen: whether the backbone was trained on these rows, None where that is not known.
    """

    def __init__(self, cache: Path, name: str, plan: CachePlan) -> None:
        self.name, self._plan = name, plan.splits[name]
        self.seen = self._plan.seen
        self._shards = [_open_shard(cache, plan, name, i) for i in range(len(self._plan.bounds) - 1)]

    def __len__(self) -> int:
        return self._plan.rows

    @cached_property
    def features(self) -> Array:
        """(N, D): a memory map where the split is one file, else a ShardedArray over its files. Writing to it changes
        memory only, never the cache."""
        return self._column("features")

    @cached_property
    def logits(self) -> Array:
        """(N, K) float32; ValueError where the cache stores none."""
        if "logits" not in self._shards[0]:
            raise ValueError(f"split {self.name!r} stores no logits; compute them with the head: head(split.features)")
        return self._column("logits")

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class ids, -1 where there is none."""
        return np.concatenate([shard["labels"] for shard in self._shards])

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """(N,) each row's place in its split."""
        return np.concatenate([shard["index"] for shard in self._shards])

    @cached_property
    def status(self) -> NDArray[np.uint8]:
        """(N,) 0 = fine, 1 = the sample could not be read."""
        return np.concatenate([shard["status"] for shard in self._shards])

    @cached_property
    def sample_id(self) -> NDArray[np.str_]:
        """(N,) what the rows are called in the data they came from."""
        names = [name for shard in self._shards for name in shard["sample_id"].tolist()]
        return np.array([name.decode("utf-8", errors="replace") for name in names], dtype=np.str_)

    @property
    def stores_logits(self) -> bool:
        """Whether logits are in the files."""
        return "logits" in self._shards[0]

    @property
    def nbytes(self) -> int:
        """Bytes of its columns."""
        return sum(column.nbytes for shard in self._shards for column in shard.values())

    def _column(self, name: str) -> Array:
        parts = [shard[name] for shard in self._shards]
        return parts[0] if len(parts) == 1 else ShardedArray(parts)

    def __repr__(self) -> str:
        return f"Split({self.name!r}, rows={len(self)}, features={self.features.shape}, seen={self.seen})"


class FeatureCache(Mapping[str, Split]):
    """A cache on disk; ``cache["train"]`` is a Split, ``cache.head`` the classifier its features belong to.

    path: the folder. FileNotFoundError or ValueError, in one line, when it is not a cache this release reads.
    A split whose extraction is unfinished is refused when it is asked for.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.plan = read_plan(self.path)
        self._open: dict[str, Split] = {}

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
            if file.exists() and not file.is_file():
                raise OSError("not a regular file")  # safetensors would wait for a FIFO
            tensors = load_file(file)
            weight, bias = tensors["weight"], tensors["bias"]
        except (OSError, SafetensorError, KeyError) as error:
            raise ValueError(f"{file}: the cache's head cannot be read ({error}); extract again") from error
        if weight.ndim != 2 or len(weight) != self.num_classes or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"{file}: weight {tuple(weight.shape)}, bias {tuple(bias.shape)}; expected {self.num_classes} classes"
            )
        if not (weight.is_floating_point() and bias.is_floating_point()):
            raise ValueError(f"{file}: weight {weight.dtype}, bias {bias.dtype}; expected floats")
        weight, bias = weight.float(), bias.float()
        if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise ValueError(f"{file}: the cache's head holds NaN or infinity; extract again")
        if head_digest(weight, bias) != self.plan.specification["head"]:
            raise ValueError(f"{file}: weight {tuple(weight.shape)} is not the head of this cache; extract again")
        return weight, bias

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(K,) training rows a class: those of the split called train."""
        labels = self["train"].labels
        return np.bincount(labels[labels >= 0], minlength=self.num_classes)

    def describe(self) -> dict[str, Any]:
        """What is in the cache, as plain JSON values: splits, shapes, class counts, provenance, what is unfinished."""
        splits: dict[str, Any] = {}
        for name, plan in self.plan.splits.items():
            missing = missing_shards(self.path, name, plan)
            entry: dict[str, Any] = {"rows": plan.rows, "seen": plan.seen, "files": len(plan.bounds) - 1}
            entry |= {"missing_files": len(missing), "complete": not missing}
            if not missing:
                split = self[name]
                labels = split.labels
                entry["features"] = [*split.features.shape]
                entry["dtype"] = str(split.features.dtype)
                entry["logits"] = [*split.logits.shape] if split.stores_logits else None
                entry["bytes"] = split.nbytes
                entry["unlabelled"] = int((labels < 0).sum())
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


def _open_shard(cache: Path, plan: CachePlan, split: str, shard: int) -> dict[str, NDArray[Any]]:
    """The columns of one shard as copy-on-write memory maps; ValueError when it is not the shard the plan names."""
    path = layout.shard_path(cache, split, shard)
    start = disk.read_head(path, layout.MIN_USER_BLOCK)
    header = layout.unpack_header(disk.read_head(path, layout.header_end(start, path)), path)
    columns = layout.parse_columns(header, path.stat().st_size, path)
    bounds = plan.splits[split].bounds
    cache_entry = header.get("cache")
    expected = plan.to_json(only=split)
    own = cache_entry if isinstance(cache_entry, dict) else {}
    if (
        own.get("hash") != plan.hash
        or own.get("splits") != expected["splits"]
        or header.get("split") != split
        or header.get("shard") != shard
    ):
        raise ValueError(f"{path}: a shard of another cache or split; expected {split} {shard} of this one")
    rows = bounds[shard + 1] - bounds[shard]
    logits = columns.get("logits")
    stored = {"dtype": columns["features"].dtype.name, "width": columns["features"].shape[1]}
    if stored != plan.specification.get("features") or (logits is None) != (plan.specification.get("logits") == "none"):
        raise ValueError(f"{path}: its columns are not those of the cache ({stored}): the file is damaged")
    if columns["labels"].shape != (rows,) or (logits and logits.shape[1] != plan.classes):
        raise ValueError(f"{path}: {header['rows']} rows; the plan says {rows} rows of {plan.classes} classes")
    maps = {
        # mode c: writable in memory, so that torch takes it without a copy, and never written to the disk
        name: np.asarray(np.memmap(path, column.dtype, "c", column.offset, column.shape))
        for name, column in columns.items()
    }
    _check_rows(maps, bounds[shard], plan.classes, path)
    return maps


def _check_rows(maps: Mapping[str, NDArray[Any]], start: int, classes: int, path: Path) -> None:
    labels, index = maps["labels"], maps["index"]
    if int(labels.min()) < -1 or int(labels.max()) >= classes:
        bad = int(labels.max()) if int(labels.max()) >= classes else int(labels.min())
        raise ValueError(f"{path}: label {bad}; expected -1..{classes - 1}: the file is damaged; {layout.MEND}")
    if not np.array_equal(index, np.arange(start, start + len(index))):
        raise ValueError(f"{path}: its rows are not rows {start}.. of the split: the file is damaged; {layout.MEND}")
