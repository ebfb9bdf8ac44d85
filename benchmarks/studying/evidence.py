"""What the steps of one set have brought: which test rows every head has right, its probabilities, its norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from featurecache import FeatureCache
from rebalance import METHODS, LinearHead, Shots, load_head
from rebalance.blocks import Features

from .estimates import Estimate, estimate, mean_over
from .planning import CLASSIFIERS, PARTS, REBALANCED, SAMPLERS, Layout, is_trained
from .sets import StudySet
from .steps import Marks, Step

BALANCED = "balanced"  # the best of the rebalanced classifiers, chosen on validation
BLOCK = 4096  # rows at a time
Right = dict[int, NDArray[np.bool_]]  # by seed: (N,)


@dataclass(frozen=True)
class Head:
    """A head of one repetition. right: (N,). nll, ece: on test. value: balanced accuracy on validation, None where
    the head was fitted there. file: None for the cache's own."""

    right: NDArray[np.bool_]
    nll: float
    ece: float
    value: float | None
    file: Path | None


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything about one set.

    counts: (K,) training rows. labels: (N,) of the test rows. rule: the groups in words.
    heads: by representation (a sampler; "features" where it is ready), method and seed. tuned: by part and seed.
    caches: by representation and seed.
    """

    made: StudySet
    counts: NDArray[np.int64]
    class_names: Sequence[str] | None
    labels: NDArray[np.int64]
    caches: Mapping[tuple[str, int], Path]
    heads: Mapping[str, Mapping[str, Mapping[int, Head]]]
    tuned: Mapping[str, Right] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The representation that the classifiers are compared on."""
        return next(iter(self.heads))

    @property
    def trained(self) -> bool:
        """Whether there is a representation of every sampler."""
        return len(self.heads) > 1

    @property
    def shots(self) -> Shots:
        return Shots(*self.made.shots)

    def groups(self) -> dict[str, NDArray[np.float64]]:
        """The weights (K,) of the classes in every figure: all, and the groups that have test rows."""
        masks = {"all": np.ones(len(self.counts), dtype=bool), **self.shots.groups(self.counts)}
        there = np.bincount(self.labels, minlength=len(self.counts)) > 0
        return {name: mean_over(mask, self.labels) for name, mask in masks.items() if (mask & there).any()}

    def methods(self, *, deciding: bool) -> list[str]:
        """The methods on the first representation. deciding: only those that decide differently from their start."""
        names = [name for name in self.heads[self.first] if " + " not in name]
        return [name for name in names if not deciding or METHODS[name].on != "val"]

    def right(self, representation: str, method: str) -> Right:
        """Which rows are right, by seed; BALANCED is the rebalanced classifier that is best on validation."""
        heads = self.heads.get(representation, {})
        if method != BALANCED:
            return {seed: head.right for seed, head in heads.get(method, {}).items()}
        return {seed: heads[name][seed].right for seed, name in self.chosen(representation).items()}

    def chosen(self, representation: str) -> dict[int, str]:
        """The rebalanced classifier that is best on validation, by seed."""
        found: dict[int, str] = {}
        heads = {name: self.heads[representation].get(name, {}) for name in REBALANCED}
        for seed in sorted(set[int]().union(*heads.values())):
            values = {name: each[seed].value for name, each in heads.items() if seed in each}
            found[seed] = max(values, key=lambda name: -1.0 if (value := values[name]) is None else value)
        return found

    def figure(self, right: Right, weights: ArrayLike) -> Estimate | None:
        """A figure of one head over its seeds; None where there is none."""
        return estimate(np.stack(list(right.values())), self.labels, weights) if right else None

    def difference(self, one: Right, other: Right, weights: ArrayLike) -> Estimate | None:
        """One less the other, paired by row and seed; None where they have no seed in common."""
        both = sorted(one.keys() & other.keys())
        pairs = [one[seed].astype(np.float64) - other[seed] for seed in both]
        return estimate(np.stack(pairs), self.labels, weights) if pairs else None

    def head(self, method: str, seed: int) -> LinearHead:
        """A head on the first representation."""
        return _head(self.heads[self.first][method][seed].file, FeatureCache(self.caches[self.first, seed]))

    def norms(self, method: str) -> dict[int, NDArray[np.float64]]:
        """The weight norms (K,) of a method's heads, by seed."""
        seeds = self.heads[self.first].get(method, {})
        return {seed: self.head(method, seed).weight.double().norm(dim=1).numpy() for seed in seeds}


def gather(work: Path, made: StudySet, steps: Sequence[Step], marks: Marks) -> Evidence | None:
    """The evidence of the steps that are done, None where no comparison is.

    work: the study's folder. made: the set. steps: of all sets.
    """
    layout = Layout(work, made)
    runs = {step.name.split("/")[1]: step for step in steps if step.name.startswith(f"{made.name}/")
            and step.name.endswith("/compare") and marks.done(step)}  # fmt: skip
    if not runs:
        return None
    heads: dict[str, dict[str, dict[int, Head]]] = {}
    caches: dict[tuple[str, int], Path] = {}
    order = SAMPLERS if is_trained(made) else ("draw",)
    for run in sorted(runs, key=lambda each: (order.index(each.rpartition("-")[0]), each)):
        representation, _, seed = run.rpartition("-")
        caches[representation, int(seed)] = layout.cache(run)
        for name, head in _heads(layout.cache(run), marks.printed(runs[run])).items():
            heads.setdefault(representation, {}).setdefault(name, {})[int(seed)] = head
    tuned: dict[str, Right] = {}
    for step in steps:
        data, run, what = step.name.split("/")
        part, _, seed = run.rpartition("-")
        if data == made.name and part in PARTS and what == "extract" and marks.done(step):
            cache = FeatureCache(layout.cache(run))
            tuned.setdefault(part, {})[int(seed)] = _right(_head(None, cache), cache)
    cache = FeatureCache(next(iter(caches.values())))
    counts = np.bincount(cache["train"].labels, minlength=cache.num_classes)
    names = _class_names(layout, cache)
    return Evidence(made, counts, names, np.asarray(cache["test"].labels), caches, heads, tuned)


def _class_names(layout: Layout, cache: FeatureCache) -> Sequence[str] | None:
    """The names of the classes; arrays that were drawn anew carry none, the cache that they are from does."""
    if is_trained(layout.made):
        return cache.class_names
    return FeatureCache(layout.made.cache or layout.cache("features-all")).class_names


def _heads(path: Path, payload: Mapping[str, Any]) -> dict[str, Head]:
    """The heads of a comparison, the classifiers of the paper first."""
    cache, kept = FeatureCache(path), path.with_suffix(".heads")
    found = {}
    for row in payload["heads"]:
        name, file = row["name"], kept / Path(row["file"]).name if row.get("file") else None
        right, value = _right(_head(file, cache), cache), payload["validation"].get(name)
        found[name] = Head(right, row["nll"], row["ece"], value, file)
    order = [*CLASSIFIERS, *(name for name in METHODS if name not in CLASSIFIERS)]
    return {name: found[name] for name in sorted(found, key=lambda n: order.index(n) if n in order else len(order))}


def _head(file: Path | None, cache: FeatureCache) -> LinearHead:
    return LinearHead(*cache.head) if file is None else load_head(file)


def _right(head: LinearHead, cache: FeatureCache) -> NDArray[np.bool_]:
    """Which test rows a head has right (N,)."""
    split = cache["test"]
    features: Features = split.features
    parts = []
    for start in range(0, len(split), BLOCK):
        rows = torch.from_numpy(np.array(features[start : start + BLOCK], dtype=np.float32))
        parts.append(head(rows).argmax(dim=1).numpy() == split.labels[start : start + BLOCK])
    return np.concatenate(parts)
