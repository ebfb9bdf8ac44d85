"""The rows of a cache, with the logits that a head makes of their features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..caches import cached_head, open_head, train_counts
from ..options import Common
from .subject import Part, Subject, names_in
from .which import which

if TYPE_CHECKING:
    from torch import Tensor

    from featurecache import FeatureCache
    from featurecache.reading.split import Array


def is_cache(source: str) -> bool:
    """Whether a cache is meant: a folder with what caches have, or one that is called so."""
    return (Path(source) / "cache.json").exists() or Path(source).suffix == ".cache"


@dataclass(frozen=True)
class Maker:
    """What makes logits of features.

    logits: of an array (N, D), blocks of them with their place. num_classes: K. record: of how it came to be.
    class_names: K names, where it has some.
    """

    logits: Callable[[Array], Iterator[tuple[slice, Tensor]]]
    num_classes: int
    record: Mapping[str, Any]
    class_names: Sequence[str] | None


def of_cache(path: Path, name: str, splits: Sequence[str], common: Common) -> Subject:
    """The rows of some splits of a cache.

    name: a head's file, a program's, or the word joint. splits: their names; none: all.
    ValueError when the head is not for these features, or a split is not there or damaged.
    """
    from featurecache import FeatureCache

    opened = FeatureCache(path)
    names = tuple(dict.fromkeys(splits)) or tuple(opened)
    labelled = any((opened[each].labels >= 0).any() for each in names)
    maker = _maker(opened, name, common)
    opened.verify(names)
    return Subject(
        parts=_parts(opened, names, maker),
        rows=sum(len(opened[each]) for each in names),
        num_classes=maker.num_classes,
        class_names=opened.class_names or maker.class_names,
        split_names=names,
        labelled=labelled,
        record=maker.record,
        counts=train_counts(opened),
        where=f"{opened.path} has no split called train",
        marks={each: _marks(opened, each, maker.record) for each in names},
    )


def _marks(opened: FeatureCache, split: str, record: Mapping[str, Any]) -> list[str]:
    """Whose training the rows of a split were part of, as far as the plan and the head's record tell."""
    told = {
        "the head was fitted on these": record.get("fitted_on") == split,
        "tuned on these": record.get("tuned_on") == split,
        "the backbone was trained on these": opened.plan.splits[split].seen is True,
    }
    return [mark for mark, true in told.items() if true]


def _maker(opened: FeatureCache, name: str, common: Common) -> Maker:
    from rebalance.metrics.rows import head_logits

    match which(name):
        case "program":
            return _program(opened, Path(name))
        case "joint":
            head = cached_head(opened, common.device)
            if head is None:
                raise ValueError(f"{opened.path}: this cache has no joint head; name one, such as ncm.safetensors")
        case "checkpoint" if Path(name).exists():
            raise ValueError(
                f"{name}: not a head, and {opened.path} holds features: expected a head or joint; a model takes images"
            )
        case _:
            head = open_head(Path(name), opened, common.device)
    names = names_in(head.record.get("class_names"), head.num_classes)
    return Maker(partial(head_logits, head), head.num_classes, head.record, names)


def _program(opened: FeatureCache, path: Path) -> Maker:
    """A program of a head; ValueError when it is for other inputs than these features."""
    import torch

    from featurecache.export import open_program
    from rebalance.blocks import blocks

    program = open_program(path)
    width = opened.plan.specification["features"]["width"]
    if program.row != (width,):
        raise ValueError(
            f"{path}: a program for inputs of shape {program.row}; {opened.path} has features of {width} numbers a row"
        )
    classes = program(torch.zeros(1, width)).shape[1]
    if classes != opened.num_classes:
        raise ValueError(f"{path}: a program of {classes} classes; {opened.path} has {opened.num_classes}")
    recorded = program.about.get("record")
    return Maker(
        lambda features: ((part, program(block)) for part, block in blocks(features, columns=classes)),
        classes,
        recorded if isinstance(recorded, Mapping) else {},
        names_in(program.about.get("class_names"), classes),
    )


def _parts(opened: FeatureCache, names: Sequence[str], maker: Maker) -> Iterator[Part]:
    """The rows block by block: of no column more than a block is in memory."""
    for name in names:
        for shard in opened[name].shards:
            ids, labels, status = (shard.column(each) for each in ("sample_id", "labels", "status"))
            for part, logits in maker.logits(shard.column("features")):
                texts = [each.decode("utf-8", errors="replace") for each in ids[part].tolist()]
                yield Part(name, texts, labels[part], status[part] == 0, logits)
