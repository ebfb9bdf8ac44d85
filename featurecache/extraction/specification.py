"""What an extraction was asked for, as the plan of a cache."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featurecache.extraction.finding import Found
from featurecache.extraction.rows import Rows
from featurecache.plan import CachePlan, SplitPlan, even_bounds
from featurecache.storage import head_digest


@dataclass(frozen=True)
class Specification:
    """What was asked for.

    layer, head, model_name, transform, dtype, logits, class_names, batch_size, seen: as in featurecache.extract.
    precision: see featurecache.extraction.computing. world_size: processes that share the work. made_with: see
    featurecache.extraction.surroundings.
    """

    layer: str | None
    head: bool
    model_name: str | None
    transform: str | None
    dtype: str
    logits: bool
    class_names: tuple[str, ...] | None
    precision: str | None
    batch_size: int
    world_size: int
    seen: Collection[str]
    made_with: dict[str, Any]

    def plan(self, found: Found, weights: str, rows: Mapping[str, Rows]) -> CachePlan:
        """The plan of the cache, still without splits. rows: of the splits, which say K where there is no head."""
        classes = self._classes(found, rows)
        if self.class_names is not None and len(self.class_names) != classes:
            raise ValueError(
                f"the model has {classes} outputs, the data {len(self.class_names)} classes; expected one output a "
                "class: train a head for these classes first, or give lists whose labels are the model's columns "
                "(head=False, --no-head, caches the features alone)"
            )
        texts = {"model name": [self.model_name], "transform": [self.transform], "class name": self.class_names or ()}
        for what, text in ((what, text) for what, some in texts.items() for text in some):
            if any("\ud800" <= letter <= "\udfff" for letter in text or ""):  # of a file name that is not UTF-8
                raise ValueError(f"{what} {str(text)[:80]!r}: expected text that UTF-8 can hold")
        specification = {
            "source": "extract",
            "model": self.model_name,
            "weights": weights,
            "layer": found.layer,
            "transform": self.transform,
            "features": {"dtype": self.dtype, "width": found.width},
            "logits": "float32" if self._stores_logits else "none",
            "head": None if found.head is None else head_digest(*found.head),
            **self._precision,
            **_terms(found),
        }
        return CachePlan(specification, classes, self.class_names)

    def _classes(self, found: Found, rows: Mapping[str, Rows]) -> int:
        """K: of the head; without one that of the names, else of the labels."""
        if found.head is not None:
            return len(found.head[0])
        if self.class_names is not None:
            return len(self.class_names)
        labels = [split.labels for split in rows.values() if split.labels is not None]
        if not labels:
            raise ValueError(
                "neither the model nor the data say how many classes there are; expected class_names, or a data set "
                "with an attribute labels"
            )
        return 1 + max(0, *(int(some.max()) for some in labels))

    @property
    def _stores_logits(self) -> bool:
        return self.logits and self.head

    @property
    def _precision(self) -> dict[str, str]:
        """An entry of the specification where it is not plain float32: older caches have none."""
        return {} if self.precision is None else {"precision": self.precision}

    def says(self, plan: CachePlan, weights: str) -> bool:
        """Whether a plan is what these options would give for a model of these weights."""
        there = plan.specification
        return (
            {"model": self.model_name, "weights": weights, "transform": self.transform}.items() <= there.items()
            and (self.layer is None or self.layer == there.get("layer"))
            and there.get("features", {}).get("dtype") == self.dtype
            and there.get("logits") == ("float32" if self._stores_logits else "none")
            and (there.get("head") is not None) == self.head
            and there.get("precision") == self.precision
            and plan.class_names == self.class_names
        )

    def with_splits(self, plan: CachePlan, rows: Mapping[str, Rows]) -> CachePlan:
        """The plan with these splits, each as it would be extracted here and now."""
        for name, split in rows.items():
            plan = plan.with_split(name, self._split(plan, split))
        _check_classes(plan, rows)
        return plan

    def _split(self, plan: CachePlan, rows: Rows) -> SplitPlan:
        labels = rows.labels
        if labels is not None and int(labels.max()) >= plan.classes:
            whose = "the model has" if plan.specification.get("head") else "the data have"
            raise ValueError(
                f"{rows.name}: label {int(labels.max())} is out of range: {whose} {plan.classes} "
                f"{'outputs' if plan.specification.get('head') else 'classes'} (0..{plan.classes - 1})"
            )
        width = plan.specification["features"]["width"]
        row_bytes = np.dtype(self.dtype).itemsize * width + (4 * plan.classes if self._stores_logits else 0)
        drawn = {} if rows.augmentation is None else {"augmentation": rows.augmentation}
        return SplitPlan(
            len(rows),
            self.batch_size,
            even_bounds(len(rows), row_bytes=row_bytes, batch_size=self.batch_size, world_size=self.world_size),
            rows.name in self.seen,
            rows.digest(),
            rows.views,
            self.made_with | drawn,
        )


def _terms(found: Found) -> dict[str, list[dict[str, Any]]]:
    """An entry for a classifier that is more than one plain layer: how its features and weight are put together."""
    if found.classifier is None or found.classifier.is_plain:
        return {}
    return {"terms": [asdict(term) for term in found.classifier.layers]}


def _check_classes(plan: CachePlan, rows: Mapping[str, Rows]) -> None:
    """Refuse a class that is met in another split and has no row in train: nothing could be fitted for it."""
    train = rows["train"].labels if "train" in rows else None
    if train is None:
        return
    known = np.unique(train[train >= 0])
    for name, split in rows.items():
        labels = split.labels
        lost = [] if labels is None else np.setdiff1d(labels[labels >= 0], known).tolist()
        if lost:
            title = f" ({plan.class_names[lost[0]][:80]!r})" if plan.class_names else ""
            raise ValueError(
                f"class {lost[0]}{title} has rows in {name} and none in train ({len(lost)} such classes); "
                "expected every class in train: add images or leave the class out"
            )
