"""What an extraction was asked for, as the plan of a cache."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from featurecache.classifier import Classifier
from featurecache.extraction.described import ids_of, labels_of, rows_of, sampled_digest
from featurecache.plan import CachePlan, SplitPlan, even_bounds
from featurecache.storage import data_digest, head_digest


@dataclass(frozen=True)
class Specification:
    """What was asked for.

    layer, model_name, transform, dtype, logits, class_names, batch_size, seen: as in featurecache.extract.
    world_size: processes that share the work. made_with: see featurecache.extraction.surroundings.
    """

    layer: str | None
    model_name: str | None
    transform: str | None
    dtype: str
    logits: bool
    class_names: tuple[str, ...] | None
    batch_size: int
    world_size: int
    seen: Collection[str]
    made_with: dict[str, Any]

    def plan(self, found: Classifier, weights: str) -> CachePlan:
        """The plan of the cache, still without splits."""
        classes = len(found.weight)
        if self.class_names is not None and len(self.class_names) != classes:
            raise ValueError(
                f"the model has {classes} outputs, the data {len(self.class_names)} classes; expected one output a "
                "class: train a head for these classes first, or give lists whose labels are the model's columns"
            )
        texts = {"model name": [self.model_name], "transform": [self.transform], "class name": self.class_names or ()}
        for what, text in ((what, text) for what, some in texts.items() for text in some):
            if any("\ud800" <= letter <= "\udfff" for letter in text or ""):  # of a file name that is not UTF-8
                raise ValueError(f"{what} {str(text)[:80]!r}: expected text that UTF-8 can hold")
        specification = {
            "source": "extract",
            "model": self.model_name,
            "weights": weights,
            "layer": found.name,
            "transform": self.transform,
            "features": {"dtype": self.dtype, "width": int(found.weight.shape[1])},
            "logits": "float32" if self.logits else "none",
            "head": head_digest(found.weight, found.bias),
        }
        return CachePlan(specification, classes, self.class_names)

    def says(self, plan: CachePlan, weights: str) -> bool:
        """Whether a plan is what these options would give for a model of these weights."""
        there = plan.specification
        return (
            {"model": self.model_name, "weights": weights, "transform": self.transform}.items() <= there.items()
            and (self.layer is None or self.layer == there.get("layer"))
            and there.get("features", {}).get("dtype") == self.dtype
            and there.get("logits") == ("float32" if self.logits else "none")
            and plan.class_names == self.class_names
        )

    def with_splits(self, plan: CachePlan, splits: Mapping[str, Dataset[Any]]) -> CachePlan:
        """The plan with these splits, each as it would be extracted here and now."""
        for name, data in splits.items():
            plan = plan.with_split(name, self._split(plan, name, data))
        _check_classes(plan, splits)
        return plan

    def _data(self, data: Dataset[Any], labels: NDArray[np.int64] | None) -> str:
        """A digest of what the data set says of its rows; of some rows where it says nothing."""
        if labels is None:
            return sampled_digest(data, int(self.made_with.get("seed", 0)))
        return data_digest([ids_of(data, len(labels))], labels)

    def _split(self, plan: CachePlan, name: str, data: Dataset[Any]) -> SplitPlan:
        rows, labels = rows_of(data, name), labels_of(data)
        if labels is not None and len(labels) != rows:
            raise ValueError(f"{name}: the data set has {rows} rows and {len(labels)} labels; expected one a row")
        if labels is not None and int(labels.max()) >= plan.classes:
            raise ValueError(
                f"{name}: label {int(labels.max())} is out of range: the model has {plan.classes} outputs "
                f"(0..{plan.classes - 1})"
            )
        width = plan.specification["features"]["width"]
        row_bytes = np.dtype(self.dtype).itemsize * width + (4 * plan.classes if self.logits else 0)
        return SplitPlan(
            rows,
            self.batch_size,
            even_bounds(rows, row_bytes=row_bytes, batch_size=self.batch_size, world_size=self.world_size),
            name in self.seen,
            self._data(data, labels),
            made_with=self.made_with,
        )


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
