"""A cache from arrays that somebody else computed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from featurecache import layout
from featurecache.plan import CachePlan, SplitPlan, missing_shards, read_plan
from featurecache.storage import check_dtype, check_labels, data_digest, encode_ids, head_digest, to_storage
from featurecache.writer import ShardWriter, start_cache

ARRAY_BLOCK = 4096  # rows that are converted at a time


class HasWeightAndBias(Protocol):
    """Anything with a weight (K, D) and a bias (K,) or None: an nn.Linear, a head of another package."""

    @property
    def weight(self) -> Tensor: ...

    @property
    def bias(self) -> Tensor | None: ...


def write(
    path: str | os.PathLike[str],
    split: str,
    features: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    *,
    logits: Tensor | ArrayLike | None = None,
    head: HasWeightAndBias | tuple[Tensor, Tensor] | None = None,
    sample_ids: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    dtype: str = "float16",
    seen: bool | None = None,
) -> None:
    """Add one split to a cache from arrays; the cache is made if it is not there.

    path: the folder. split: its name, such as train; one that the cache already has is refused.
    features: (N, D). labels: (N,) integers, -1 = unlabelled. logits: (N, K), or None to store none.
    head: the classifier the features belong to, (weight (K, D), bias (K,)) or anything with these two.
    sample_ids: N names; by default the row numbers. class_names: K names.
    dtype: of the stored features, float16 or float32.
    seen: whether the backbone was trained on these rows; by default so for the split called train.
    ValueError when shapes do not fit, a number is not finite or does not fit the dtype, or the cache that is there
    was made with another head, width or dtype.
    """
    cache = Path(path)
    rows, target = _array(features), check_labels(_array(labels))
    scores = None if logits is None else _array(logits)
    _check_shapes(rows, target, scores)
    pair = _head_pair(head, rows.shape[1])
    classes = _num_classes(target, scores, pair, class_names)
    specification = {
        "source": "arrays",
        "features": {"dtype": check_dtype(dtype), "width": int(rows.shape[1])},
        "logits": "none" if scores is None else "float32",
        "head": None if pair is None else head_digest(*pair),
    }
    names = None if class_names is None else tuple(class_names)
    plan = _join(cache, CachePlan(specification, classes, names), split)
    ids = encode_ids([str(i) for i in range(len(rows))] if sample_ids is None else sample_ids)
    if len(ids) != len(rows):
        raise ValueError(f"{len(ids)} sample ids for {len(rows)} rows; expected one a row")
    table = _Table(rows, target, scores, ids, dtype)
    split_plan = SplitPlan.of(
        len(rows),
        row_bytes=sum(column.nbytes for column in table.columns(1).values()),
        batch_size=ARRAY_BLOCK,
        seen=(split == "train") if seen is None else seen,
        data=data_digest([name.decode(errors="replace") for name in ids.tolist()], target),
    )
    plan = plan.with_split(split, split_plan)
    start_cache(cache, pair)
    table.fill(cache, plan, split)
    plan.save(cache)


@dataclass(frozen=True)
class _Table:
    """The rows to write: features (N, D), labels (N,), logits (N, K) or None, ids (N,)."""

    features: NDArray[Any]
    labels: NDArray[np.int64]
    logits: NDArray[Any] | None
    ids: NDArray[np.bytes_]
    dtype: str

    def columns(self, rows: int) -> dict[str, layout.Column]:
        """The columns of a shard of so many rows."""
        classes = None if self.logits is None else self.logits.shape[1]
        id_bytes = self.ids.dtype.itemsize
        return layout.columns(rows, self.features.shape[1], dtype=self.dtype, classes=classes, id_bytes=id_bytes)

    def fill(self, cache: Path, plan: CachePlan, split: str) -> None:
        """Write all shards of the split, or none: a refusal in a later one takes the earlier ones back."""
        made: list[Path] = []
        try:
            for shard, (start, stop) in enumerate(pairwise(plan.splits[split].bounds)):
                with ShardWriter(cache, plan, split, shard, self.columns(stop - start)) as writer:
                    for low in range(start, stop, ARRAY_BLOCK):
                        writer.append(self._block(slice(low, min(low + ARRAY_BLOCK, stop))))
                made.append(layout.shard_path(cache, split, shard))
        except BaseException:
            for file in made:
                file.unlink()
            with suppress(OSError):  # not empty: somebody else's files
                (cache / split).rmdir()
            raise

    def _block(self, rows: slice) -> dict[str, NDArray[Any]]:
        block = {
            "features": to_storage(self.features[rows], self.dtype, self.ids[rows]),
            "labels": self.labels[rows],
            "index": np.arange(rows.start, rows.stop),
            "sample_id": self.ids[rows],
            "status": np.zeros(rows.stop - rows.start, dtype=np.uint8),
        }
        if self.logits is not None:
            block["logits"] = to_storage(self.logits[rows], "float32", self.ids[rows], what="logits")
        return block


def _join(cache: Path, wanted: CachePlan, split: str) -> CachePlan:
    """The plan of the cache that is there, if it is of the same making, else the new one."""
    layout.check_split_name(split)
    if not (cache / layout.CACHE_FILE).exists():
        return wanted
    plan = read_plan(cache)
    # Without a head or logits the number of classes is only the largest label met so far.
    open_ended = wanted.specification["head"] is None and wanted.specification["logits"] == "none"
    if open_ended and wanted.class_names is None and plan.class_names is None:
        classes = max(plan.classes, wanted.classes)
        wanted, plan = replace(wanted, classes=classes), replace(plan, classes=classes)
    elif open_ended and wanted.class_names is None:
        if wanted.classes > plan.classes:
            raise ValueError(
                f"label {wanted.classes - 1} is out of range: {cache} has {plan.classes} classes "
                f"(0..{plan.classes - 1})"
            )
        wanted = replace(wanted, classes=plan.classes, class_names=plan.class_names)
    elif wanted.class_names is None:
        wanted = CachePlan(wanted.specification, wanted.classes, plan.class_names)
    plan.check_same(wanted, cache)
    if split in plan.splits and not missing_shards(cache, split, plan.splits[split]):
        raise ValueError(f"{cache}: split {split!r} is already there; use another name or another folder")
    return plan


def _num_classes(
    labels: NDArray[np.int64],
    logits: NDArray[Any] | None,
    head: tuple[Tensor, Tensor] | None,
    names: Sequence[str] | None,
) -> int:
    """K, from whatever says it; ValueError when two disagree or a label is beyond it."""
    largest = int(labels.max()) if len(labels) else -1
    said = {
        "the head": None if head is None else len(head[0]),
        "the logits": None if logits is None else logits.shape[1],
        "the class names": None if names is None else len(names),
    }
    given = {who: int(number) for who, number in said.items() if number is not None}
    if 0 in given.values():
        raise ValueError("no class; expected at least one class name")
    for name in names or ():
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise ValueError(f"class name {name[:80]!r}: expected text that UTF-8 can hold")
    if len(set(given.values())) > 1:
        raise ValueError("; ".join(f"{who} have {number} classes" for who, number in given.items()))
    classes = next(iter(given.values()), max(largest + 1, 1))
    if largest >= classes:
        raise ValueError(f"label {largest} is out of range: there are {classes} classes (0..{classes - 1})")
    return classes


def _check_shapes(features: NDArray[Any], labels: NDArray[np.int64], logits: NDArray[Any] | None) -> None:
    if features.ndim != 2 or features.dtype.kind != "f":
        raise ValueError(f"features are {features.dtype} of shape {features.shape}; expected floats (N, D)")
    if not 0 < features.shape[1] <= layout.MAX_WIDTH:
        raise ValueError(f"features have shape {features.shape}; expected 1 to {layout.MAX_WIDTH} columns")
    if len(labels) != len(features):
        raise ValueError(f"{len(labels)} labels for {len(features)} rows of features; expected one a row")
    if logits is None:
        return
    if logits.ndim != 2 or len(logits) != len(features) or not logits.shape[1] or logits.dtype.kind not in "fiu":
        raise ValueError(f"logits are {logits.dtype} of shape {logits.shape}; expected numbers ({len(features)}, K)")


def _head_pair(head: HasWeightAndBias | tuple[Tensor, Tensor] | None, width: int) -> tuple[Tensor, Tensor] | None:
    if head is None:
        return None
    weight, bias = head if isinstance(head, tuple) else (head.weight, head.bias)
    weight = torch.as_tensor(weight).detach().to("cpu", torch.float32)
    bias = torch.zeros(len(weight)) if bias is None else torch.as_tensor(bias).detach().to("cpu", torch.float32)
    if not len(weight) or weight.ndim != 2 or weight.shape[1] != width or bias.shape != (len(weight),):
        raise ValueError(
            f"the head has weight {tuple(weight.shape)} and bias {tuple(bias.shape)}; expected (K, {width}) and (K,), "
            f"for the features are {width} wide"
        )
    if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
        raise ValueError("the head holds NaN or infinity; expected finite numbers")
    return weight, bias


def _array(values: Tensor | ArrayLike) -> NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
        return np.asarray(values.numpy())
    return np.asarray(values)
