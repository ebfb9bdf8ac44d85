"""All figures of a report, from heads that were judged on one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.metrics import Report
from rebalance.metrics import confusions as wrong_pairs
from rebalance.metrics import reliability as reliability_bins
from rebalance.metrics.calibration import Reliability
from rebalance.report.drawing import Drawing
from rebalance.report.figures import Standing, cones, confusions, norms, recall, reliability, trade_off
from rebalance.report.tau_curves import tau_curves
from rebalance.report.three_classes import three_classes


@dataclass(frozen=True, eq=False)
class Judged:
    """A head with its report on the split that is shown. name: what it is called in tables and figures."""

    name: str
    head: LinearHead
    report: Report


def drawings(
    judged: Sequence[Judged],
    *,
    counts: ArrayLike | None,
    class_names: Sequence[str] | None,
    features: Features,
    labels: Labels,
    tuning: tuple[Features, Labels, str] | None = None,
    before: str = "joint",
    after: str | None = None,
    classes: Sequence[int] | None = None,
) -> list[Drawing]:
    """Every figure that can be drawn; one that cannot (no counts, a group without classes …) is left out.

    judged: heads with their reports on the same rows. counts: (K,) training rows. class_names: K names.
    features, labels: (N, D) and (N,), the rows reported. tuning: features, labels and name of the split that
    hyperparameters were chosen on. before, after: which heads are compared; without `after` the one is shown alone.
    classes: three class ids for the decision cones, None: a rare class that gained, and what it was taken for.
    ValueError for three classes that cannot be drawn. Under ranks.together() every rank calls it.
    """
    pair = [each for name in dict.fromkeys((before, after)) for each in judged if each.name == name] or list(judged[:1])
    # The two that are compared look the same in every figure.
    ordered = [*pair, *(each for each in judged if each not in pair)]
    groups = _groups(pair[0])
    out: list[Drawing] = []
    if counts is not None:
        rows = _counts(counts)
        recalls = {each.name: each.report.recall for each in pair}
        out.append(recall(recalls, rows, class_names=class_names, groups=groups))
    out += _trade_off(ordered)
    out += _confusions(pair, class_names)
    out.append(reliability(_panels(pair)))
    joint = next((each.head for each in judged if each.head.record.get("method") == "joint"), None)
    if tuning is not None and joint is not None:
        out += tau_curves({each.name: each.head for each in judged}, joint, tuning, counts, groups)
    if counts is not None:
        out.append(norms({each.name: _norms(each) for each in ordered}, rows, class_names=class_names))
    if len(pair) == 2:
        out += _cones(pair, features, labels, class_names, classes)
    return out


def _counts(counts: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(counts.cpu() if isinstance(counts, torch.Tensor) else counts).astype(np.int64)


def _groups(each: Judged) -> dict[str, NDArray[np.bool_]]:
    """The masks (K,) of the shot groups, {} without counts."""
    return {str(name): mask for name, mask in each.report.groups.items()}


def _norms(each: Judged) -> NDArray[np.float64]:
    return np.asarray(torch.linalg.vector_norm(each.head.weight.double(), dim=1).cpu())


def _trade_off(judged: Sequence[Judged]) -> list[Drawing]:
    standings = {}
    for each in judged:
        report = each.report
        if report.many is not None and report.few is not None:
            ends = report.intervals
            standings[each.name] = Standing(report.many, report.few, ends.get("many"), ends.get("few"), report.balanced)
    return [trade_off(standings)] if standings else []


def _confusions(pair: Sequence[Judged], class_names: Sequence[str] | None) -> list[Drawing]:
    num_classes = len(pair[0].report.recall)
    wrong = {each.name: wrong_pairs(each.report.results, num_classes) for each in pair}
    if not any(len(rows) for _, _, rows in wrong.values()):
        return []  # every row is right
    return [confusions(wrong, num_classes, class_names=class_names)]


def _panels(pair: Sequence[Judged]) -> dict[str, dict[str, Reliability]]:
    """The bins of all rows, and of those of each shot group that has rows."""
    panels: dict[str, dict[str, Reliability]] = {}
    for each in pair:
        results = each.report.results
        every = np.ones(len(each.report.recall), dtype=np.bool_)
        for name, mask in {"all rows": every, **_groups(each)}.items():
            part = mask[results.labels]
            if results.weights[part].sum() > 0:
                bins = reliability_bins(results.confidence[part], results.correct[part], results.weights[part])
                panels.setdefault(name, {})[each.name] = bins
    return panels


def _cones(
    pair: Sequence[Judged],
    features: Features,
    labels: Labels,
    class_names: Sequence[str] | None,
    classes: Sequence[int] | None,
) -> list[Drawing]:
    heads = {each.name: each.head for each in pair}
    num_classes = len(pair[0].report.recall)
    if classes is not None and (len(classes) != 3 or len({*classes} & {*range(num_classes)}) != 3):
        raise ValueError(
            f"decision cones of classes {', '.join(str(k) for k in classes)}; expected three different class ids, "
            f"0..{num_classes - 1}"
        )
    chosen = classes if classes is not None else three_classes(pair[0].report, pair[1].report)
    if chosen is None:
        return []
    try:
        return [cones(heads, features, labels, chosen, class_names=class_names)]
    except ValueError:
        if classes is not None:
            raise
        return []  # means on a line, by chance
