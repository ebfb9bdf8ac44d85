"""All figures of a report, from heads that were judged on one split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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
from rebalance.report.figures.norms import relative
from rebalance.report.style import head_labels, plain
from rebalance.report.tau_curves import tau_curves
from rebalance.report.three_classes import three_classes

NO_COUNTS = "the training rows of the classes are not known"
SAME = 1e-5  # norms over their mean that differ less are those of a head that another one rescales


@dataclass(frozen=True, eq=False)
class Judged:
    """A head with its report on the split that is shown. name: what it is called in tables and figures."""

    name: str
    head: LinearHead
    report: Report


@dataclass(frozen=True)
class NotDrawn:
    """A figure that there is none of. name: of its files, were there any. why: in words."""

    name: str
    why: str


@dataclass(frozen=True)
class Gallery:
    """The figures that can be drawn, and what is not drawn."""

    drawings: list[Drawing]
    not_drawn: list[NotDrawn]

    @property
    def notes(self) -> list[str]:
        """What is not drawn and why, a sentence each."""
        return [f"no figure {each.name}: {each.why}" for each in self.not_drawn]


def gallery(
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
) -> Gallery:
    """Every figure that can be drawn; and which cannot (no counts, a group without classes …), and why.

    judged: heads with their reports on the same rows. counts: (K,) training rows. class_names: K names.
    features, labels: (N, D) and (N,), the rows reported. tuning: features, labels and name of the split that
    hyperparameters were chosen on. before, after: which heads are compared; without `after` the one is shown alone.
    classes: three class ids for the decision cones, None: a rare class that gained, and what it was taken for.
    ValueError unless they are three different ids. Under ranks.together() every rank calls it.
    """
    pair = [each for name in dict.fromkeys((before, after)) for each in judged if each.name == name] or list(judged[:1])
    called = head_labels([each.name for each in judged])
    # The two that are compared look the same in every figure.
    ordered = [*pair, *(each for each in judged if each not in pair)]
    groups = _groups(pair[0])
    found: list[Drawing | NotDrawn] = [
        _recall(pair, counts, class_names, called),
        _trade_off(ordered, called),
        _confusions(pair, class_names, called),
        _reliability(pair, called),
        *_tau_curves(judged, tuning, counts, groups, called),
        _norms(ordered, counts, class_names, called),
        _cones(pair, features, labels, classes, class_names, called),
    ]
    return Gallery(
        [each for each in found if isinstance(each, Drawing)], [each for each in found if isinstance(each, NotDrawn)]
    )


def _counts(counts: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(counts.cpu() if isinstance(counts, torch.Tensor) else counts).astype(np.int64)


def _groups(each: Judged) -> dict[str, NDArray[np.bool_]]:
    """The masks (K,) of the shot groups, {} without counts."""
    return {str(name): mask for name, mask in each.report.groups.items()}


def _recall(
    pair: Sequence[Judged], counts: ArrayLike | None, class_names: Sequence[str] | None, called: Mapping[str, str]
) -> Drawing | NotDrawn:
    if counts is None:
        return NotDrawn("recall", NO_COUNTS)
    recalls = {each.name: each.report.recall for each in pair}
    return recall(recalls, _counts(counts), class_names=class_names, groups=_groups(pair[0]), called=called)


def _norms(
    judged: Sequence[Judged], counts: ArrayLike | None, class_names: Sequence[str] | None, called: Mapping[str, str]
) -> Drawing | NotDrawn:
    if counts is None:
        return NotDrawn("norms", NO_COUNTS)
    own = {each.name: np.asarray(torch.linalg.vector_norm(each.head.weight.double(), dim=1).cpu()) for each in judged}

    def alike(a: Judged, b: Judged) -> bool:
        """Whether the one is the other, rescaled."""
        return _predict_alike(a, b) and np.allclose(relative(own[a.name]), relative(own[b.name]), rtol=SAME, atol=SAME)

    shown, left = _parted(judged, alike)
    drawn = norms(
        {each.name: own[each.name] for each in shown}, _counts(counts), class_names=class_names, called=called
    )
    return _saying(drawn, left, "a rescaled one that is shown", called)


def _trade_off(judged: Sequence[Judged], called: Mapping[str, str]) -> Drawing | NotDrawn:
    if not judged[0].report.groups:
        return NotDrawn("trade_off", NO_COUNTS)
    empty = [name for name in ("many", "few") if getattr(judged[0].report, name) is None]
    if empty:
        return NotDrawn("trade_off", f"no class that is {' or '.join(empty)} has rows")
    shown, left = _parted(judged, _predict_alike)
    drawn = trade_off({each.name: _standing(each.report) for each in shown}, called=called)
    return _saying(drawn, left, "one that is shown and predicts the same of every row", called)


def _standing(report: Report) -> Standing:
    many, few = report.many, report.few
    if many is None or few is None:
        raise ValueError("a head has no recall on many or few where another has; expected reports on the same rows")
    return Standing(many, few, report.intervals.get("many"), report.intervals.get("few"), report.balanced)


def _predict_alike(a: Judged, b: Judged) -> bool:
    return np.array_equal(a.report.results.predictions, b.report.results.predictions)


def _parted(
    judged: Sequence[Judged], alike: Callable[[Judged, Judged], bool]
) -> tuple[list[Judged], list[tuple[Judged, Judged]]]:
    """The first of all that are alike; and the others, each with the first that it is like."""
    shown: list[Judged] = []
    left: list[tuple[Judged, Judged]] = []
    for each in judged:
        first = next((other for other in shown if alike(each, other)), None)
        if first is None:
            shown.append(each)
        else:
            left.append((each, first))
    return shown, left


def _saying(drawing: Drawing, left: Sequence[tuple[Judged, Judged]], like: str, called: Mapping[str, str]) -> Drawing:
    """The drawing, whose caption says which heads are left out because each is like another."""
    if not left:
        return drawing
    pairs = [f"{called[a.name].strip()} (as {called[b.name].strip()})" for a, b in left]
    return replace(drawing, caption=f"{drawing.caption} Left out, each for {like}: {', '.join(pairs)}.")


def _confusions(
    pair: Sequence[Judged], class_names: Sequence[str] | None, called: Mapping[str, str]
) -> Drawing | NotDrawn:
    num_classes = len(pair[0].report.recall)
    wrong = {each.name: wrong_pairs(each.report.results, num_classes) for each in pair}
    if not any(len(rows) for _, _, rows in wrong.values()):
        return NotDrawn("confusions", "every row is right")
    return confusions(wrong, num_classes, class_names=class_names, called=called)


def _reliability(pair: Sequence[Judged], called: Mapping[str, str]) -> Drawing:
    """Of all rows, and of those of each shot group that has rows."""
    panels: dict[str, dict[str, Reliability]] = {}
    rows: dict[str, int] = {}
    for each in pair:
        results = each.report.results
        every = np.ones(len(each.report.recall), dtype=np.bool_)
        for name, mask in {"all rows": every, **_groups(each)}.items():
            part = mask[results.labels]
            if results.weights[part].sum() > 0:
                bins = reliability_bins(results.confidence[part], results.correct[part], results.weights[part])
                panels.setdefault(name, {})[each.name] = bins
                rows[name] = int(part.sum())
    return reliability(panels, rows=rows, called=called)


def _tau_curves(
    judged: Sequence[Judged],
    tuning: tuple[Features, Labels, str] | None,
    counts: ArrayLike | None,
    groups: Mapping[str, NDArray[np.bool_]],
    called: Mapping[str, str],
) -> Sequence[Drawing | NotDrawn]:
    joint = next((each.head for each in judged if each.head.record.get("method") == "joint"), None)
    if tuning is None:
        return [NotDrawn("tau_curve", "no head was tuned on rows that are here")]
    if joint is None:
        return [NotDrawn("tau_curve", "the joint head, which it starts from, is not among the heads")]
    found = tau_curves({each.name: each.head for each in judged}, joint, tuning, counts, groups, called)
    return found or [NotDrawn("tau_curve", f"no head was tuned by an exact search on {plain(tuning[2])}")]


def _cones(
    pair: Sequence[Judged],
    features: Features,
    labels: Labels,
    classes: Sequence[int] | None,
    class_names: Sequence[str] | None,
    called: Mapping[str, str],
) -> Drawing | NotDrawn:
    num_classes = len(pair[0].report.recall)
    if classes is not None and (len(classes) != 3 or len({*classes} & {*range(num_classes)}) != 3):
        raise ValueError(
            f"decision cones of classes {', '.join(str(k) for k in classes)}; expected three different class ids, "
            f"0..{num_classes - 1}"
        )
    if len(pair) < 2:
        return NotDrawn("cones", "there are no two heads to compare")
    chosen = classes if classes is not None else three_classes(pair[0].report, pair[1].report)
    if chosen is None:
        return NotDrawn("cones", "fewer than three classes have rows")
    heads = {each.name: each.head for each in pair}
    try:
        return cones(heads, features, labels, chosen, class_names=class_names, called=called)
    except ValueError as error:
        return NotDrawn("cones", str(error))
