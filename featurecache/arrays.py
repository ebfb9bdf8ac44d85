"""A cache from features that somebody else computed: from arrays, or from an iterator of blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from featurecache import disk, layout
from featurecache.plan import CachePlan, SplitPlan, missing_shards, read_plan
from featurecache.shards.lock import waiting
from featurecache.storage import check_dtype, head_digest
from featurecache.writer import PATIENCE
from featurecache.writing.agreement import agree
from featurecache.writing.spool import Spool
from featurecache.writing.table import Table, check_views, table


class HasWeightAndBias(Protocol):
    """Anything with a weight (K, D) and a bias (K,) or None: an nn.Linear, a head of another package."""

    @property
    def weight(self) -> Tensor: ...

    @property
    def bias(self) -> Tensor | None: ...


def write(
    path: str | os.PathLike[str],
    split: str,
    features: Tensor | ArrayLike | Iterator[Mapping[str, Any]],
    labels: Tensor | ArrayLike | None = None,
    *,
    logits: Tensor | ArrayLike | None = None,
    head: HasWeightAndBias | tuple[Tensor, Tensor] | None = None,
    sample_ids: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    dtype: str = "float16",
    seen: bool | None = None,
    views: int = 1,
) -> None:
    """Add one split to a cache; the cache is made if it is not there.

    path: the folder. split: its name, such as train; one that the cache already has is refused.
    features: (N, D); or an iterator of blocks, mappings with features (n, D), labels (n,) and, in all of them or in
    none, logits (n, K) and sample_id (n names), which never lie in memory together.
    labels: (N,) integers, -1 = unlabelled. logits: (N, K), or None to store none.
    head: the classifier the features belong to, (weight (K, D), bias (K,)) or anything with these two.
    sample_ids: N names; by default the row numbers. class_names: K names.
    dtype: of the stored features, float16 or float32.
    seen: whether the backbone was trained on these rows; by default so for the split called train.
    views: of every image, one whole view after the other: row r is of image r mod (N / views).
    Nothing of the split is there before all of it is. ValueError when shapes do not fit, a number is not finite or
    does not fit the dtype, or the cache that is there was made with another head, width or dtype; BeingWritten, which
    is one, when another process writes this split.
    """
    cache = Path(path)
    layout.check_split_name(split)
    with ExitStack() as stack:
        if isinstance(features, Iterator):
            if labels is not None or logits is not None or sample_ids is not None:
                raise ValueError("labels, logits and sample_ids come in the blocks where features is an iterator")
            spool = stack.enter_context(Spool(cache, check_dtype(dtype)))
            spool.fill(features)
            check_views(len(spool.labels), views)
            rows = Table(spool.features, spool.labels, spool.logits, spool.ids(views), dtype, views)
        else:
            rows = table(features, labels, logits, sample_ids, check_dtype(dtype), views)
        _write(cache, split, rows, _head_pair(head, rows.features.shape[1]), class_names, seen)


def _write(
    cache: Path,
    split: str,
    rows: Table,
    pair: tuple[Tensor, Tensor] | None,
    class_names: Sequence[str] | None,
    seen: bool | None,
) -> None:
    specification = {
        "source": "arrays",
        "features": {"dtype": rows.dtype, "width": int(rows.features.shape[1])},
        "logits": "none" if rows.logits is None else "float32",
        "head": None if pair is None else head_digest(*pair),
    }
    names = None if class_names is None else tuple(class_names)
    classes = _num_classes(rows.labels, rows.logits, pair, class_names)
    entry = rows.plan((split == "train") if seen is None else seen)
    disk.make_folder(cache)
    with waiting(cache / split, PATIENCE):  # all of the split: whoever fails takes back every file of it
        made = _join(cache, CachePlan(specification, classes, names), split).with_split(split, entry)
        with _complete_or_nothing(cache, split, entry):
            rows.fill(cache, made, split)
            agree(cache, made, pair)


@contextmanager
def _complete_or_nothing(cache: Path, split: str, entry: SplitPlan) -> Iterator[None]:
    """A refusal in a later file takes the earlier ones back."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the refusal is what counts
            for shard in range(entry.shards):
                disk.remove(layout.shard_path(cache, split, shard))
            disk.remove_folder(cache / split)
        raise


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
