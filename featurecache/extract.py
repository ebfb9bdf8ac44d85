"""One pass of a model over images: features, logits and labels into a cache."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from featurecache import layout
from featurecache.checkpoint import digest
from featurecache.classifier import Classifier, capture, find_classifier
from featurecache.extraction.described import ids_of, rows_of
from featurecache.extraction.filling import FirstBatch, fill, tidy_split
from featurecache.extraction.passes import Progress, SplitPass
from featurecache.extraction.rechecking import check_first_batch
from featurecache.extraction.specification import Specification
from featurecache.extraction.surroundings import SeededRows, own_randomness, surroundings
from featurecache.plan import CachePlan, missing_shards, read_plan
from featurecache.proof import logits_of
from featurecache.storage import check_dtype
from featurecache.writer import tidy
from featurecache.writing.agreement import agree, check_free, check_split, has_head


@dataclass
class Extraction:
    """What `extract` did.

    layer: the classifier's name in the model. written: rows by split, by this process. kept: splits that were
    complete already. unfinished: files by split that are left to other processes. seconds: wall time of the passes.
    """

    layer: str
    written: dict[str, int] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    unfinished: dict[str, int] = field(default_factory=dict)
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
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    progress: Progress | None = None,
) -> Extraction:
    """Cache the input and the output of the model's classifier layer for every split.

    model: any module that gives logits (B, K); it is run in eval mode and left as it was.
    splits: data sets by split name, each giving (input, label) pairs; its attributes `sample_ids` (N names), `labels`
    and `class_names` are used where it has them.
    path: the cache's folder; an extraction that was stopped goes on with the rows that are missing, to the same bytes;
    a split that is complete is left alone, another model's cache is refused.
    layer: the classifier's name, where it cannot be proved which it is. batch_size: rows a batch; part of the
    result's identity, since logits differ in the last bits between batch sizes.
    dtype: of the stored features, float16 or float32. logits: False stores none (they follow from features and head).
    device, workers: where the model runs, how many processes load. class_names: K names in column order.
    model_name, transform: one line each, recorded as provenance. seen: splits the backbone was trained on.
    seed: of what the data sets draw at random, row by row.
    rank, world_size: this process's number and how many share the work, each with files of its own; they need not
    talk to each other. progress: called after every batch.

    ValueError when no layer provably is the classifier, a number is not finite, a class of another split has no row
    in train, the cache that is there differs in its specification, or another process is writing the same file.
    """
    cache, target = Path(path), torch.device(device)
    _check(splits, batch_size, rank, world_size)
    check_free(cache, splits, rank, world_size)
    asked = Specification(
        layer=layer,
        model_name=model_name,
        transform=transform,
        dtype=check_dtype(dtype),
        logits=logits,
        class_names=_names(splits) if class_names is None else tuple(class_names),
        batch_size=batch_size,
        world_size=world_size,
        seen=seen,
        made_with=surroundings(target, seed),
    )
    with _evaluating(model, target):
        weights = digest(model.state_dict())
        if (complete := _complete(cache, splits, weights, asked)) is not None:
            return complete
        found, batch = _find(model, splits, layer, batch_size, seed, target)
        wanted = asked.with_splits(asked.plan(found, weights), splits)
        _recheck(cache, wanted, model, found, batch)

        def passes(plan: CachePlan) -> list[SplitPass]:
            return [SplitPass(model, found.name, plan, name, data, target, workers) for name, data in splits.items()]

        likely = _likely(cache, wanted)
        began, runs = time.perf_counter(), passes(likely)
        with closing(FirstBatch(cache, runs, rank, world_size)) as first:
            plan = agree(cache, wanted, (found.weight, found.bias))
            done = Extraction(found.name, kept=[name for name in splits if not _missing(cache, plan, name)])
            if any(plan.to_json(only=name) != likely.to_json(only=name) for name in splits):
                runs = passes(plan)  # of what another process began
            done.written = fill(cache, runs, rank, world_size, progress, first=first)
        done.seconds = time.perf_counter() - began
        done.unfinished = {name: files for name in splits if (files := _missing(cache, plan, name))}
    return done


def _names(splits: Mapping[str, Dataset[Any]]) -> tuple[str, ...] | None:
    """The class names of the first data set that has some."""
    named = (getattr(data, "class_names", None) for data in splits.values())
    return next((tuple(names) for names in named if names is not None), None)


def _recheck(cache: Path, wanted: CachePlan, model: nn.Module, found: Classifier, batch: Tensor) -> None:
    """ValueError when a cache of the same making holds other features for the first split's first batch."""
    if (cache / layout.CACHE_FILE).exists() and read_plan(cache).specification == wanted.specification:
        with torch.inference_mode(), capture(model, found.name) as captured:
            model(batch)
            check_first_batch(cache, next(iter(wanted.splits)), captured.features.float().cpu().numpy())


def _likely(cache: Path, wanted: CachePlan) -> CachePlan:
    """The plan that will be agreed on, as far as one can tell before: what is there keeps its bounds."""
    if not (cache / layout.CACHE_FILE).exists():
        return wanted
    likely, there = wanted, read_plan(cache).splits
    for name, split in wanted.splits.items():
        old = there.get(name)
        if old is not None and (old.rows, old.batch_size) == (split.rows, split.batch_size):
            likely = likely.with_split(name, old)
    return likely


def _missing(cache: Path, plan: CachePlan, name: str) -> int:
    return len(missing_shards(cache, name, plan.splits[name]))


def _check(splits: Mapping[str, Dataset[Any]], batch_size: int, rank: int, world_size: int) -> None:
    if not splits:
        raise ValueError("no split to extract; expected at least one, such as train")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected 1 or more")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank} of {world_size} processes; expected 0..{world_size - 1}")
    for name in splits:
        layout.check_split_name(name)


def _complete(cache: Path, splits: Mapping[str, Dataset[Any]], weights: str, asked: Specification) -> Extraction | None:
    """What there is to say when all is there already, without a forward; None when something is to be done."""
    if not (cache / layout.CACHE_FILE).exists():
        return None
    there = read_plan(cache)
    if not has_head(cache, there) or not asked.says(there, weights) or not set(splits) <= set(there.splits):
        return None
    if any(_missing(cache, there, name) for name in splits):
        return None
    wanted = asked.with_splits(there, splits)
    for name in splits:
        check_split(cache, name, there.splits[name], wanted.splits[name])
        tidy_split(cache, name, there.splits[name])
    tidy(cache / layout.CACHE_FILE)
    return Extraction(there.specification["layer"], kept=list(splits))


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


def _find(
    model: nn.Module,
    splits: Mapping[str, Dataset[Any]],
    layer: str | None,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> tuple[Classifier, Tensor]:
    """The classifier, proved on the first batch of the first split, and that batch."""
    name, data = next(iter(splits.items()))
    rows = min(batch_size, rows_of(data, name))
    with own_randomness():
        inputs, _ = next(iter(DataLoader(Subset(SeededRows(data, seed), range(rows)), batch_size=rows)))
    with torch.inference_mode():
        output = logits_of(model(inputs.to(device)))
    if output.ndim == 2 and not bool(torch.isfinite(output).all()):
        bad = int((~torch.isfinite(output)).any(dim=1).to(torch.uint8).argmax())
        sample = ids_of(data, rows_of(data, name))[bad].decode(errors="replace")[:80]
        raise ValueError(
            f"the model gives NaN or infinity for sample {sample!r} of {name}; expected finite logits: "
            "the weights or this input are broken"
        )
    inputs = inputs.to(device)
    return find_classifier(model, inputs, layer=layer), inputs
