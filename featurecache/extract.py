"""One pass of a model over images: features, logits and labels into a cache."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from featurecache import layout
from featurecache.checkpoint import digest
from featurecache.classifier import Classifier, find_classifier
from featurecache.described import ids_of, labels_of, rows_of
from featurecache.passes import Progress, SplitPass
from featurecache.plan import CachePlan, SplitPlan, missing_shards, read_plan
from featurecache.proof import logits_of
from featurecache.storage import check_dtype, data_digest, head_digest
from featurecache.writer import start_cache


@dataclass
class Extraction:
    """What `extract` did.

    layer: the classifier's name in the model. written: rows by split. kept: splits that were complete already.
    seconds: wall time of the passes.
    """

    layer: str
    written: dict[str, int] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    seconds: float = 0.0


def extract(
    model: nn.Module,
    splits: Mapping[str, Dataset[Any]],
    path: str | os.PathLike[str],
    *,
    layer: str | None = None,
    batch_size: int = 64,
    dtype: str = "float16",
    logits: bool = True,
    device: str | torch.device = "cpu",
    workers: int = 0,
    class_names: Sequence[str] | None = None,
    model_name: str | None = None,
    transform: str | None = None,
    seen: Collection[str] = ("train",),
    progress: Progress | None = None,
) -> Extraction:
    """Cache the input and the output of the model's classifier layer for every split.

    model: any module that gives logits (B, K); it is run in eval mode and left as it was.
    splits: data sets by split name, each giving (input, label) pairs; its attributes `sample_ids` (N names), `labels`
    and `class_names` are used where it has them.
    path: the cache's folder; an extraction that was stopped goes on with its missing files, a split that is complete
    is left alone, another model's cache is refused.
    layer: the classifier's name, where it cannot be proved which it is. batch_size: rows a batch; part of the
    result's identity, since logits differ in the last bits between batch sizes.
    dtype: of the stored features, float16 or float32. logits: False stores none (they follow from features and head).
    device, workers: where the model runs, how many processes load. class_names: K names in column order.
    model_name, transform: one line each, recorded as provenance. seen: splits the backbone was trained on.
    progress: called after every batch.

    ValueError when no layer provably is the classifier, a number is not finite, a class of another split has no row
    in train, or the cache that is there differs in its specification.
    """
    cache, target = Path(path), torch.device(device)
    if not splits:
        raise ValueError("no split to extract; expected at least one, such as train")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected 1 or more")
    if class_names is None:
        named = (getattr(data, "class_names", None) for data in splits.values())
        class_names = next((names for names in named if names is not None), None)
    with _evaluating(model, target):
        found = _find(model, splits, layer, batch_size, target)
        plan = _plan(found, digest(model.state_dict()), class_names, check_dtype(dtype), logits, model_name, transform)
        plan = _join(cache, plan)
        for name, data in splits.items():
            layout.check_split_name(name)
            plan = _plan_split(plan, name, data, batch_size, name in seen, cache)
        _check_classes(plan, splits)
        start_cache(cache, (found.weight, found.bias))
        plan.save(cache)
        done, began = Extraction(found.name), time.perf_counter()
        for name, data in splits.items():
            run = SplitPass(model, found.name, plan, name, data, target, workers, progress)
            rows = run.fill(cache)
            if rows:
                done.written[name] = rows
            else:
                done.kept.append(name)
        done.seconds = time.perf_counter() - began
    return done


@contextmanager
def _evaluating(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode on the device inside the block; every module as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    was_on = next((tensor.device for tensor in model.parameters()), device)
    model.to(device).eval()
    try:
        yield
    finally:
        model.to(was_on)
        for module, training in modes:
            module.training = training


def _join(cache: Path, plan: CachePlan) -> CachePlan:
    """The plan of the cache that is there, which must be of the same extraction; else the new one."""
    if not (cache / layout.CACHE_FILE).exists():
        return plan
    there = read_plan(cache)
    if all(len(missing_shards(cache, name, split)) == len(split.bounds) - 1 for name, split in there.splits.items()):
        (cache / layout.CACHE_FILE).unlink()  # begun, and no file of it finished: nothing is lost by starting afresh
        return plan
    there.check_same(plan, cache)
    return there


def _find(
    model: nn.Module,
    splits: Mapping[str, Dataset[Any]],
    layer: str | None,
    batch_size: int,
    device: torch.device,
) -> Classifier:
    """The classifier, proved on the first batch of the first split."""
    name, data = next(iter(splits.items()))
    rows = min(batch_size, rows_of(data, name))
    inputs, _ = next(iter(DataLoader(Subset(data, range(rows)), batch_size=rows)))
    with torch.inference_mode():
        output = logits_of(model(inputs.to(device)))
    if output.ndim == 2 and not bool(torch.isfinite(output).all()):
        bad = int((~torch.isfinite(output)).any(dim=1).to(torch.uint8).argmax())
        sample = ids_of(data, rows_of(data, name))[bad].decode(errors="replace")[:80]
        raise ValueError(
            f"the model gives NaN or infinity for sample {sample!r} of {name}; expected finite logits: "
            "the weights or this input are broken"
        )
    return find_classifier(model, inputs.to(device), layer=layer)


def _plan(
    found: Classifier,
    weights: str,
    class_names: Sequence[str] | None,
    dtype: str,
    logits: bool,
    model_name: str | None,
    transform: str | None,
) -> CachePlan:
    classes = len(found.weight)
    if class_names is not None and len(class_names) != classes:
        raise ValueError(
            f"the model has {classes} outputs, the data {len(class_names)} classes; expected one output a class: "
            "train a head for these classes first, or give lists whose labels are the model's columns"
        )
    specification = {
        "source": "extract",
        "model": model_name,
        "weights": weights,
        "layer": found.name,
        "transform": transform,
        "features": {"dtype": dtype, "width": int(found.weight.shape[1])},
        "logits": "float32" if logits else "none",
        "head": head_digest(found.weight, found.bias),
    }
    return CachePlan(specification, classes, None if class_names is None else tuple(class_names))


def _plan_split(plan: CachePlan, name: str, data: Dataset[Any], batch_size: int, seen: bool, cache: Path) -> CachePlan:
    """The plan with this split; the entry that is there must be of the same data."""
    rows = rows_of(data, name)
    labels = labels_of(data)
    if labels is not None and len(labels) != rows:
        raise ValueError(f"{name}: the data set has {rows} rows and {len(labels)} labels; expected one a row")
    if labels is not None and len(labels) and int(labels.max()) >= plan.classes:
        raise ValueError(
            f"{name}: label {int(labels.max())} is out of range: the model has {plan.classes} outputs "
            f"(0..{plan.classes - 1})"
        )
    data_hash = (
        None if labels is None else data_digest([i.decode(errors="replace") for i in ids_of(data, rows)], labels)
    )
    width, logits = plan.specification["features"]["width"], plan.specification["logits"] != "none"
    row_bytes = 4 * width + (4 * plan.classes if logits else 0)
    wanted = SplitPlan.of(rows, row_bytes=row_bytes, batch_size=batch_size, seen=seen, data=data_hash)
    there = plan.splits.get(name)
    if there is None or len(missing_shards(cache, name, there)) == len(there.bounds) - 1:
        return plan.with_split(name, wanted)  # new, or begun without a finished file: nothing ties it to its data yet
    for what, old, new in (("rows", there.rows, wanted.rows), ("data", there.data, wanted.data)):
        if old != new:
            raise ValueError(
                f"{cache}: split {name!r} was made from other data ({what}: {str(old)[:20]}, now {str(new)[:20]}); "
                "use another split name or another folder"
            )
    if there.batch_size != batch_size and missing_shards(cache, name, there):
        raise ValueError(
            f"{cache}: split {name!r} was begun with --batch-size {there.batch_size}, now {batch_size}; "
            "go on with the size it was begun with"
        )
    return plan


def _check_classes(plan: CachePlan, splits: Mapping[str, Dataset[Any]]) -> None:
    """Refuse a class that is met in another split and has no row in train: nothing could be fitted for it."""
    train = labels_of(splits["train"]) if "train" in splits else None
    if train is None:
        return
    known = np.unique(train[train >= 0])
    for name, data in splits.items():
        labels = labels_of(data)
        lost = [] if labels is None else np.setdiff1d(labels[labels >= 0], known).tolist()
        if lost:
            title = f" ({plan.class_names[lost[0]][:80]!r})" if plan.class_names else ""
            raise ValueError(
                f"class {lost[0]}{title} has rows in {name} and none in train ({len(lost)} such classes); "
                "expected every class in train: add images or leave the class out"
            )
