"""Agree on one plan: the first process writes it, every other one compares its own and takes the one that is there."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from featurecache import disk, layout
from featurecache.plan import CachePlan, SplitPlan, missing_shards, read_plan
from featurecache.shards.lock import BeingWritten, check_unlocked, waiting
from featurecache.storage import SAMPLED, head_digest
from featurecache.writer import committed_rows, discard

MAX_HEAD = 2**34  # bytes
PATIENCE = 10.0  # seconds that others may take to write the plan


def agree(
    cache: Path, wanted: CachePlan, head: tuple[Tensor, Tensor] | None, *, any_batch_size: bool = False
) -> CachePlan:
    """The plan on the disk, which holds every split that is wanted, and beside it the head.

    cache: the folder, made where it is not there. wanted: this process's plan. head: weight (K, D) and bias (K,).
    any_batch_size: a split that is planned already keeps its batches.
    What was begun without a finished or committed row may be planned anew; ValueError naming the first difference
    where rows of another making are there, BeingWritten where another process keeps the plan locked.
    """
    disk.make_folder(cache)
    with waiting(cache / layout.CACHE_FILE, PATIENCE) as lock:
        own = "" if lock.is_real else f".{secrets.token_hex(8)}"
        there = read_plan(cache) if (cache / layout.CACHE_FILE).exists() else None
        if there is not None and not _same_making(there, wanted) and not _begun_at_all(cache, there):
            for name, split in there.splits.items():
                _clear(cache, name, split)
            disk.remove(cache / layout.CACHE_FILE)
            disk.sync_folder(cache)  # or the old plan might come back beside the new head
            there = None
        merged = wanted
        if there is not None and any_batch_size:
            wanted = with_batches_of(wanted, there)
        if there is not None:
            merged = _merged(cache, there.with_classes_of(wanted), wanted.with_classes_of(there))
        if there is None or not has_head(cache, merged):
            write_head(cache, head, own)
        if merged != there:
            merged.save(cache, own)
    return merged


def has_head(cache: Path, plan: CachePlan) -> bool:
    """Whether the head that the plan names is there and sound, or it names none."""
    wanted = plan.specification.get("head")
    if wanted is None:
        return True
    try:
        tensors = load(disk.read_head(cache / layout.HEAD_FILE, MAX_HEAD))
        return bool(head_digest(tensors["weight"], tensors["bias"]) == wanted)
    except (OSError, SafetensorError, KeyError):
        return False


def write_head(cache: Path, head: tuple[Tensor, Tensor] | None, own: str = "") -> None:
    """The head as a file of the cache; one of another making, without its plan, is replaced.

    head: weight (K, D) and bias (K,), or None. own: see disk.replacing.
    """
    if head is not None:
        tensors = {"weight": head[0].contiguous(), "bias": head[1].contiguous()}
        disk.write_bytes(cache / layout.HEAD_FILE, save(tensors), own)


def with_batches_of(wanted: CachePlan, there: CachePlan) -> CachePlan:
    """The wanted plan with the batches and shards of the splits that another plan has, too."""
    for name, split in wanted.splits.items():
        old = there.splits.get(name)
        if old is not None and old.rows == split.rows:
            wanted = wanted.with_split(name, replace(split, batch_size=old.batch_size, bounds=old.bounds))
    return wanted


def _same_making(there: CachePlan, wanted: CachePlan) -> bool:
    return (there.specification, there.classes, there.class_names) == (
        wanted.specification,
        wanted.classes,
        wanted.class_names,
    )


def _merged(cache: Path, there: CachePlan, wanted: CachePlan) -> CachePlan:
    there.check_same(wanted, cache)
    merged = there
    for name, split in wanted.splits.items():
        old = there.splits.get(name)
        if old is not None and old != split and (_but_threads(old, split) or begun(cache, there, name)):
            check_split(cache, name, old, split)
            continue
        if old is not None and old != split:
            _clear(cache, name, old)
        merged = merged.with_split(name, split)
    return merged


def check_split(cache: Path, name: str, there: SplitPlan, wanted: SplitPlan) -> None:
    """ValueError naming the first difference that makes the rows of a split others than the wanted ones.

    A split that is complete stays what it is, whatever it was made with; its bounds and threads are taken over.
    """
    drawn = [(plan.made_with or {}).get("augmentation") for plan in (there, wanted)]
    pairs = [(what, getattr(there, what), getattr(wanted, what)) for what in ("rows", "views", "data")]
    for what, old, new in [*pairs, ("augmentation", *drawn)]:
        if old != new and (what != "data" or _comparable(there, wanted)):
            raise ValueError(
                f"{cache}: split {name!r} was made from other data ({what}: {str(old)[:20]}, now {str(new)[:20]}); "
                "use another split name or another folder"
            )
    if there.seen != wanted.seen:
        words = {True: "seen", False: "not seen", None: "perhaps seen"}
        raise ValueError(
            f"{cache}: split {name!r} is recorded as {words[there.seen]} by the backbone, now as {words[wanted.seen]} "
            "(--seen): what is in its files is not changed; ask for the same, or extract into another folder"
        )
    if not missing_shards(cache, name, there):
        return
    for what, old, new in _differences(there, wanted):
        raise ValueError(
            f"{cache}: split {name!r} was begun with {what} {str(old)[:60]}, now {str(new)[:60]}; "
            f"go on with what it was begun with, or delete {cache / name} to begin it again"
        )


def _comparable(there: SplitPlan, wanted: SplitPlan) -> bool:
    """Whether other digests mean other data: of rows as they were loaded only with the same seed and versions."""
    sampled = all((split.data or "").startswith(SAMPLED) for split in (there, wanted))
    return not sampled or not [what for what, *_ in _differences(there, wanted) if what != "--batch-size"]


def check_agreed(cache: Path, plan: CachePlan, name: str) -> None:
    """ValueError when a split has been planned anew since it was agreed on; to be asked with its files locked."""
    with waiting(cache / layout.CACHE_FILE, PATIENCE):
        there = read_plan(cache)
    if name not in there.splits or there.to_json(only=name) != plan.to_json(only=name):
        raise ValueError(
            f"{cache}: split {name!r} was planned anew by another process meanwhile; give all processes the same "
            "options, and run the same extraction again"
        )


def _but_threads(there: SplitPlan, wanted: SplitPlan) -> bool:
    """Whether two plans of a split differ in nothing but the threads."""
    return replace(there, made_with=wanted.made_with) == wanted and not _differences(there, wanted)


def _differences(there: SplitPlan, wanted: SplitPlan) -> list[tuple[str, Any, Any]]:
    # Smaller batches go on with it: a block is then computed in several forwards.
    pairs: list[tuple[str, Any, Any]] = [("--batch-size", there.batch_size, max(there.batch_size, wanted.batch_size))]
    one, two = there.made_with or {}, wanted.made_with or {}
    pairs += [(what, one.get(what), two.get(what)) for what in ("device", "seed", "channels_last", "compile")]
    old, new = one.get("versions"), two.get("versions")
    old, new = (old if isinstance(old, dict) else {}), (new if isinstance(new, dict) else {})
    pairs += [(name, old.get(name, "absent"), new.get(name, "absent")) for name in sorted({*old, *new})]
    return [(what, a, b) for what, a, b in pairs if a != b]


def _begun_at_all(cache: Path, plan: CachePlan) -> bool:
    return any(begun(cache, plan, name) for name in plan.splits)


def begun(cache: Path, plan: CachePlan, name: str) -> bool:
    """Whether a shard of the split is finished, holds committed rows, or is being written."""
    shards = range(plan.splits[name].shards)
    if len(missing_shards(cache, name, plan.splits[name])) < len(shards):
        return True
    if not (cache / name).is_dir():
        return False
    return any(committed_rows(cache, plan, name, shard) or _held(cache, name, shard) for shard in shards)


def check_free(cache: Path, splits: Iterable[str], rank: int = 0, world_size: int = 1) -> None:
    """BeingWritten when another process is writing a file that this one would write. It takes no time.

    cache: the folder. splits: names. rank, world_size: as in featurecache.extract.
    """
    if not (cache / layout.CACHE_FILE).exists():
        return
    plan = read_plan(cache)
    for name in splits:
        for shard in missing_shards(cache, name, plan.splits[name]) if name in plan.splits else ():
            if shard % world_size == rank:
                check_unlocked(layout.shard_path(cache, name, shard))


def _held(cache: Path, name: str, shard: int) -> bool:
    try:
        check_unlocked(layout.shard_path(cache, name, shard))
    except BeingWritten:
        return True
    return False


def _clear(cache: Path, name: str, split: SplitPlan) -> None:
    """Remove what was begun of a split's shards and holds no row."""
    for shard in range(split.shards):
        discard(layout.shard_path(cache, name, shard))
    disk.remove_folder(cache / name)
