"""Heads judged on one split: what ``evaluate`` and ``compare`` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..caches import verify
from ..feeding import Feeding
from ..launch import first
from ..options import Common
from ..output import clean, progress
from .payload import payload_of
from .scoreboard import JOINT, show

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from featurecache import FeatureCache
    from rebalance import LinearHead, Report, Shots
    from rebalance.report.drawing import Drawing
    from rebalance.report.gallery import Gallery

    from .options import Judging

__all__ = ["Criteria", "criteria", "finish", "judge", "open_heads", "payload_of", "show", "unused"]


@dataclass(frozen=True)
class Criteria:
    """What heads are judged by.

    counts: (K,) training rows a class, None where they are not known. shots: the groups. target_prior: (K,) shares,
    None for the rows as they are. costs: (K, K) by label and prediction, or None.
    """

    counts: NDArray[np.int64] | None
    shots: Shots
    target_prior: NDArray[np.float64] | None
    costs: NDArray[np.float64] | None


def criteria(opened: FeatureCache, options: Judging) -> Criteria:
    """What the options mean for a cache; ValueError where they do not suit it. Nothing of the rows is read."""
    from rebalance.costs import read_costs

    from ..caches import train_counts
    from .cones import read_cones
    from .target_prior import read_target_prior

    _ = opened[options.split]
    counts = train_counts(opened)
    prior = None if options.target_prior is None else read_target_prior(options.target_prior, opened, counts)
    if options.cones is not None:
        read_cones(options.cones, opened.num_classes, opened.class_names)
    costs = None if options.costs is None else read_costs(options.costs, opened.num_classes, opened.class_names)
    return Criteria(counts, options.groups, prior, costs)


def open_heads(
    opened: FeatureCache, files: Sequence[Path], common: Common
) -> tuple[dict[str, LinearHead], dict[str, Path | None]]:
    """The joint head of a cache where it has one, then those of files; and the file of each, all by name.

    A head is called like its file, with a number where another is called so already.
    """
    from ..caches import cached_head, open_head

    heads: dict[str, LinearHead] = {}
    paths: dict[str, Path | None] = {}
    if (joint := cached_head(opened, common.device)) is not None:
        heads[JOINT], paths[JOINT] = joint, None
    for path in files:
        name = unused(clean(path.stem), heads)
        heads[name], paths[name] = open_head(path, opened, common.device), path
    return heads, paths


def judge(opened: FeatureCache, heads: Mapping[str, LinearHead], options: Judging, common: Common) -> dict[str, Report]:
    """The report of every head on the split, by name; all are resampled with the same draws.

    ValueError naming the head whose logits are bad, or where no row of the split has a label.
    """
    from rebalance import evaluate_head

    by, rows = criteria(opened, options), opened[options.split]
    if not (rows.labels >= 0).any():
        raise ValueError(
            f"{opened.path}: no row of {options.split} has a label, so nothing can be judged; name another --split: "
            f"{', '.join(name for name in opened if name != options.split) or 'there is none'}"
        )
    reports: dict[str, Report] = {}
    # A single head passes over them once, so there is nothing to keep.
    features, labels = Feeding(common.device).rows(rows) if len(heads) > 1 else (rows.features, rows.labels)
    with _progress() as update:
        for done, (name, head) in enumerate(heads.items(), start=1):
            try:
                reports[name] = evaluate_head(
                    head,
                    features,
                    labels,
                    by.counts,
                    shots=by.shots,
                    target_prior=by.target_prior,
                    costs=by.costs,
                    replicates=options.replicates,
                    seed=common.seed,
                )
            except ValueError as error:
                raise ValueError(f"head {clean(name)} on {options.split}: {error}") from error
            update(done, len(heads), name)
    return reports


def finish(
    payload: dict[str, Any],
    opened: FeatureCache,
    heads: Mapping[str, LinearHead],
    reports: Mapping[str, Report],
    options: Judging,
    common: Common,
    *,
    before: str | None,
    after: str | None,
    page: bool = True,
) -> list[Drawing]:
    """Write the predictions and the drawings that were asked for, and add their paths to the payload.

    before, after: the two heads that are compared in drawings, None where there is no such head.
    page: whether the drawings are wanted for more than --figures. Returns them; nothing where nobody wants them.
    Every process of several computes the same; the first writes.
    """
    from .predictions import write_predictions

    judged = {name: heads[name] for name in (head["name"] for head in payload["heads"])}
    if options.predictions is not None:
        if first():
            write_predictions(options.predictions, opened[options.split], {name: reports[name] for name in judged})
        payload["predictions"] = str(options.predictions)
    if options.figures is None and not page:
        return []
    hung = _drawings(opened, judged, reports, options, before, after)
    drawn = hung.drawings
    payload["notes"] += hung.notes
    if options.figures is not None and first():
        options.figures.mkdir(exist_ok=True)
        payload["figures"] = [str(path) for drawing in drawn for path in drawing.save(options.figures)]
    return drawn


def _progress() -> AbstractContextManager[Callable[[int, int, str], None]]:
    return progress("judge") if first() else nullcontext(lambda done, total, text: None)


def _drawings(
    opened: FeatureCache,
    judged: Mapping[str, LinearHead],
    reports: Mapping[str, Report],
    options: Judging,
    before: str | None,
    after: str | None,
) -> Gallery:
    from rebalance.report.gallery import Judged, gallery

    from ..caches import train_counts
    from .cones import read_cones

    rows, cones = opened[options.split], options.cones
    return gallery(
        [Judged(name, head, reports[name]) for name, head in judged.items()],
        counts=train_counts(opened),
        class_names=opened.class_names,
        features=rows.features,
        labels=rows.labels,
        tuning=_tuning_rows(opened, judged),
        before=before or JOINT,
        after=after,
        classes=None if cones is None else read_cones(cones, opened.num_classes, opened.class_names),
    )


def _tuning_rows(opened: FeatureCache, judged: Mapping[str, LinearHead]) -> Any:
    """Features, labels and name of the split that heads were tuned on, None where it is not here any more."""
    named = (head.record.get("tuned_on") for head in judged.values())
    there = [name for name in named if isinstance(name, str) and name in opened.complete]
    if not there:
        return None
    verify(opened, there[:1])
    return opened[there[0]].features, opened[there[0]].labels, there[0]


def unused(name: str, taken: Mapping[str, Any]) -> str:
    """The name, with a number where another head has it already."""
    number, free = 2, name
    while free in taken:
        number, free = number + 1, f"{name}-{number}"
    return free
