"""One pass of a model over its inputs: features, logits and labels into a cache."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import Dataset

from featurecache import layout
from featurecache.checkpoint import digest
from featurecache.extraction import batch_size as trials
from featurecache.extraction.ahead import Clock
from featurecache.extraction.computing import Computing
from featurecache.extraction.filling import FirstBatch, fill, tidy_split
from featurecache.extraction.finding import Found, find
from featurecache.extraction.forward import Forward
from featurecache.extraction.passes import Progress, SplitPass
from featurecache.extraction.rechecking import check_first_batch
from featurecache.extraction.rows import Rows
from featurecache.extraction.specification import Specification
from featurecache.extraction.surroundings import surroundings
from featurecache.plan import CachePlan, missing_shards, read_plan
from featurecache.storage import check_dtype
from featurecache.writer import tidy
from featurecache.writing.agreement import agree, begun, check_free, check_split, has_head

TRIAL_ROWS = 8  # that trial batches are made of


@dataclass
class Extraction:
    """What `extract` did.

    layer: the classifier's name in the model, or that of the layer whose output was cached (None: the model's own).
    written: rows by split, by this process. kept: splits that were complete already. unfinished: files by split that
    are left to other processes. unreadable: by split, one line for every row of this process that was passed over.
    batch_size: rows of a batch. seconds: wall time of the passes. stages: seconds that each stage worked; they overlap.
    """

    layer: str | None
    written: dict[str, int] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    unfinished: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, list[str]] = field(default_factory=dict)
    batch_size: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)


def extract(
    model: nn.Module,
    splits: Mapping[str, Dataset[Any]],
    path: str | os.PathLike[str],
    *,
    layer: str | None = None,
    head: bool = True,
    batch_size: int | Literal["auto"] = 64,
    dtype: str = "float16",
    logits: bool = True,
    views: Mapping[str, int] | None = None,
    unreadable: Literal["stop", "skip"] = "stop",
    device: str | torch.device = "cpu",
    amp: Literal["off", "bf16", "fp16"] = "off",
    tf32: bool = False,
    channels_last: bool = False,
    compile: bool = False,
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
    splits: data sets by split name, each giving (input, label) pairs; its attributes `sample_ids` (N names), `labels`,
    `class_names` and `collate` are used where it has them. An input is what the model is called with: a tensor, a
    mapping of keyword arguments, or a tuple of arguments.
    path: the cache's folder; an extraction that was stopped goes on with the rows that are missing, to the same bytes;
    a split that is complete is left alone, another model's cache is refused.
    layer: the classifier's name, where it cannot be proved which it is. head: False for a backbone without a
    classifier; then the output of `layer` is cached (None: the model's own output), without head and logits.
    batch_size: rows a batch; float32 features and logits differ by some 1e-6 of the largest between batch sizes, and
    not at all between numbers of workers and processes. What was begun may go on with a smaller one, never a larger.
    "auto": what trial batches are fastest with, or what is recorded.
    dtype: of the stored features, float16 or float32. logits: False stores none (they follow from features and head).
    views: by split, how often every item is passed; its data set draws another augmentation each time. Row r is view
    r div N of item r mod N.
    unreadable: "skip" gives a row whose data set raises Unreadable status 1, label -1 and zeros.
    device, workers: where the model runs, how many processes load. amp: autocast in the forward. tf32: on CUDA, float32
    products may be TF32. channels_last: images and convolutions in that order of memory. compile: by torch.compile.
    class_names: K names in column order. model_name, transform: one line each, recorded as provenance.
    seen: splits the backbone was trained on. seed: of what the data sets draw at random, row by row.
    rank, world_size: this process's number and how many share the work, each with files of its own; they need not
    talk to each other. progress: called after every batch.

    ValueError when no layer provably is the classifier, a number is not finite, a class of another split has no row
    in train, the cache that is there differs in its specification, or another process is writing the same file;
    OutOfMemory, a ValueError, when the device has too little memory for a batch.
    """
    cache, computing = Path(path), Computing(torch.device(device), amp, tf32, channels_last, compile)
    _check(splits, views or {}, batch_size, unreadable, rank, world_size)
    check_free(cache, splits, rank, world_size)
    rows = {
        name: Rows(name, data, seed, views=(views or {}).get(name, 1), skip=unreadable == "skip")
        for name, data in splits.items()
    }
    size = batch_size if batch_size != "auto" else trials.recorded(cache, splits)
    asked = Specification(
        layer=layer,
        head=head,
        model_name=model_name,
        transform=transform,
        dtype=check_dtype(dtype),
        logits=logits,
        class_names=_names(rows) if class_names is None else tuple(class_names),
        precision=computing.precision,
        batch_size=size or TRIAL_ROWS,
        world_size=world_size,
        seen=seen,
        made_with=surroundings(computing.device, seed, **computing.last_bits),
    )
    with computing.prepared(model):
        weights = digest(model.state_dict())
        if (complete := _complete(cache, rows, weights, asked)) is not None:
            return complete
        found = find(model, rows, asked.batch_size, computing, layer=layer, head=head)
        forward = Forward(model, found.classifier or found.layer, computing)
        if size is None:
            with forward.ready():
                size = trials.fastest(forward, found.first.inputs, len(found.first))
            asked = replace(asked, batch_size=size)
        wanted = asked.with_splits(asked.plan(found, weights, rows), rows)
        _recheck(cache, wanted, forward, found)
        return _extract(
            cache, wanted, forward, found, rows, _Work(size, workers, rank, world_size, progress, batch_size == "auto")
        )


@dataclass(frozen=True)
class _Work:
    """This process's share, and how it is done; see extract."""

    batch_size: int
    workers: int
    rank: int
    world_size: int
    progress: Progress | None
    any_batch_size: bool


def _extract(
    cache: Path, wanted: CachePlan, forward: Forward, found: Found, rows: Mapping[str, Rows], work: _Work
) -> Extraction:
    """Agree on the plan and fill the files that are missing."""
    clock = Clock()

    def passes(plan: CachePlan) -> list[SplitPass]:
        return [
            SplitPass(forward, plan, split, at_most=work.batch_size, workers=work.workers, clock=clock)
            for split in rows.values()
        ]

    likely = _likely(cache, wanted)
    began, runs = time.perf_counter(), passes(likely)
    with closing(FirstBatch(cache, runs, work.rank, work.world_size)) as first:
        plan = agree(cache, wanted, found.head, any_batch_size=work.any_batch_size)
        done = Extraction(found.layer, kept=[name for name in rows if not _missing(cache, plan, name)])
        if any(plan.to_json(only=name) != likely.to_json(only=name) for name in rows):
            runs = passes(plan)  # of what another process began
        done.written = fill(cache, runs, work.rank, work.world_size, work.progress, first=first)
    done.seconds, done.stages = time.perf_counter() - began, clock.seconds
    done.batch_size = work.batch_size
    done.unreadable = {run.name: run.bad for run in runs if run.bad}
    done.unfinished = {name: files for name in rows if (files := _missing(cache, plan, name))}
    return done


def _names(rows: Mapping[str, Rows]) -> tuple[str, ...] | None:
    """The class names of the first data set that has some; numbers say nothing, and may not reach the last class."""
    names = next((split.class_names for split in rows.values() if split.class_names is not None), None)
    return None if names == tuple(map(str, range(len(names or ())))) else names


def _recheck(cache: Path, wanted: CachePlan, forward: Forward, found: Found) -> None:
    """ValueError when a cache of the same making holds other features for the first batch than this model gives."""
    there = (cache / layout.CACHE_FILE).exists() and read_plan(cache).specification == wanted.specification
    if there and found.at == 0:
        count = len(found.first)
        with forward.ready():
            features = forward(found.first.inputs, count, count).features
        check_first_batch(cache, found.split, features.float().cpu().numpy(), ~found.first.unreadable)


def _likely(cache: Path, wanted: CachePlan) -> CachePlan:
    """The plan that will be agreed on, as far as one can tell before: what is there keeps its bounds."""
    if not (cache / layout.CACHE_FILE).exists():
        return wanted
    there = read_plan(cache)
    likely = wanted
    for name, split in wanted.splits.items():
        old = there.splits.get(name)
        if (
            old is not None
            and old.rows == split.rows
            and (old.batch_size == split.batch_size or begun(cache, there, name))
        ):
            likely = likely.with_split(name, old)
    return likely


def _missing(cache: Path, plan: CachePlan, name: str) -> int:
    return len(missing_shards(cache, name, plan.splits[name]))


def _check(
    splits: Mapping[str, Dataset[Any]],
    views: Mapping[str, int],
    batch_size: int | str,
    unreadable: str,
    rank: int,
    world_size: int,
) -> None:
    if not splits:
        raise ValueError("no split to extract; expected at least one, such as train")
    if isinstance(batch_size, str) and batch_size != "auto":
        raise ValueError(f"batch_size is {batch_size!r:.80}; expected a number or 'auto'")
    if isinstance(batch_size, int) and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected 1 or more")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank} of {world_size} processes; expected 0..{world_size - 1}")
    if unreadable not in ("stop", "skip"):
        raise ValueError(f"unreadable is {unreadable!r:.80}; expected 'stop' or 'skip'")
    for name in splits:
        layout.check_split_name(name)
    if strange := sorted(set(views) - set(splits)):
        raise ValueError(f"views of {strange[0]!r:.80}: no such split; there are: {', '.join(splits)}")


def _complete(cache: Path, rows: Mapping[str, Rows], weights: str, asked: Specification) -> Extraction | None:
    """What there is to say when all is there already, without a forward; None when something is to be done."""
    if not (cache / layout.CACHE_FILE).exists():
        return None
    there = read_plan(cache)
    if not has_head(cache, there) or not asked.says(there, weights) or not set(rows) <= set(there.splits):
        return None
    if any(_missing(cache, there, name) for name in rows):
        return None
    wanted = asked.with_splits(there, rows)
    for name in rows:
        check_split(cache, name, there.splits[name], wanted.splits[name])
        tidy_split(cache, name, there.splits[name])
    tidy(cache / layout.CACHE_FILE)
    return Extraction(
        there.specification["layer"], kept=list(rows), batch_size=there.splits[next(iter(rows))].batch_size
    )
