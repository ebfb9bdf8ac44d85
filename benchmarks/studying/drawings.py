"""The figures of the study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from featurecache import FeatureCache
from rebalance import evaluate_head
from rebalance.report.drawing import Drawing
from rebalance.report.figures import cones, norms
from rebalance.report.style import Style
from rebalance.report.three_classes import three_classes

from .estimates import Estimate
from .evidence import Evidence
from .naming import CALLED
from .planning import CLASSIFIERS, SAMPLERS

NORMS = ("joint", "crt", "tau_norm", "lws")
Rows = Mapping[str, Mapping[str, Estimate]]  # by row and column


def all_drawings(found: Evidence) -> list[Drawing]:
    """Every figure of a set that can be drawn."""
    drawn = [methods(found), norms_of(found), cones_of(found)]
    if found.trained:
        drawn.insert(0, matrix(found))
    if found.tuned:
        drawn.insert(2, tuning(found))
    return [each for each in drawn if each is not None]


def save(drawings: Sequence[Drawing], folder: Path) -> None:
    """Write every picture as .svg and .png; folder: made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        for ending in ("svg", "png"):
            drawing.write(folder / f"{drawing.name}.{ending}")


def matrix(found: Evidence) -> Drawing:
    """Balanced accuracy of every representation under every classifier, with intervals."""
    weights = found.groups()["all"]
    cells: dict[str, dict[str, Estimate]] = {}
    for name in CLASSIFIERS:
        for sampler in SAMPLERS:
            figure = found.figure(found.right(sampler, name), weights) if sampler in found.heads else None
            if figure is not None:
                cells.setdefault(name, {})[sampler] = figure

    def paint(figure: Figure, style: Style) -> None:
        axes = figure.subplots()
        for i, sampler in enumerate(SAMPLERS):
            mark, at = (
                style.mark(i),
                [(row, each[sampler]) for row, each in enumerate(cells.values()) if sampler in each],
            )
            _dots(axes, [each for _, each in at], [row + 0.17 * (i - 1.5) for row, _ in at], style, i)
            axes.plot([], [], mark.marker, color=mark.colour, label=CALLED[sampler])
        _rows(axes, [CALLED[name] for name in cells], style)
        axes.set_xlabel("mean recall over classes, percent")
        figure.legend(loc="outside upper center", ncols=2, title="backbone trained with sampling")

    return _drawing(found, "matrix", "Representation and classifier", cells, paint, (7.2, 4.8))


def methods(found: Evidence) -> Drawing:
    """All classes, many, medium and few of every method on the first representation, the best last."""
    return _panels(found, "methods", "Classifiers on one representation", {
        name: found.right(found.first, name) for name in found.methods(deciding=True)
    })  # fmt: skip


def tuning(found: Evidence) -> Drawing:
    """What is trained on: classifier only, last block, whole trunk, beside the joint model and cRT on the cache."""
    rows = {"joint": found.right(found.first, "joint"), "cRT on the cache": found.right(found.first, "crt")}
    return _panels(found, "tuning", "Classifier or trunk", {**rows, **found.tuned}, sort=False)


def norms_of(found: Evidence) -> Drawing | None:
    """Weight norms against class sizes, of the first seed."""
    seed = min(seed for _, seed in found.caches)
    names = [name for name in NORMS if seed in found.heads[found.first].get(name, {})]
    if not names:
        return None
    values = {CALLED[name]: found.norms(name)[seed] for name in names}
    return replace(norms(values, found.counts, class_names=found.class_names), name=f"norms-{found.made.name}")


def cones_of(found: Evidence) -> Drawing | None:
    """Decision cones of a rare class that gained and the two it is most often taken for, joint and cRT, first seed."""
    seed = min(seed for _, seed in found.caches)
    heads = {CALLED[name]: found.head(name, seed) for name in ("joint", "crt")
             if seed in found.heads[found.first].get(name, {})}  # fmt: skip
    if len(heads) < 2:
        return None
    test = FeatureCache(found.caches[found.first, seed])["test"]
    before, after = (
        evaluate_head(head, test.features, test.labels, found.counts, shots=found.shots) for head in heads.values()
    )
    classes = three_classes(before, after)
    if classes is None:
        return None
    try:
        drawn = cones(heads, test.features, test.labels, classes, class_names=found.class_names)
    except ValueError:  # the three means span no plane
        return None
    return replace(drawn, name=f"cones-{found.made.name}")


def _panels(
    found: Evidence, name: str, title: str, rows: Mapping[str, Mapping[int, np.ndarray]], *, sort: bool = True
) -> Drawing:
    """A row a head, a panel a group of classes."""
    groups = found.groups()
    cells: dict[str, dict[str, Estimate]] = {}
    for row, right in rows.items():
        figures = {group: found.figure(dict(right), weights) for group, weights in groups.items()}
        cells[row] = {group: each for group, each in figures.items() if each is not None}
    kept = [row for row in cells if cells[row]]
    ordered = sorted(kept, key=lambda row: -cells[row]["all"].value) if sort else kept

    def paint(figure: Figure, style: Style) -> None:
        panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
        for axes, group in zip(panels, groups, strict=True):
            _dots(axes, [cells[row][group] for row in ordered], list(range(len(ordered))), style, 2)
            if "joint" in ordered:
                axes.axvline(100 * cells["joint"][group].value, color=style.faint, linewidth=0.8, zorder=0)
            _rows(axes, [CALLED.get(row, row) for row in ordered], style)
            number = int((groups[group] > 0).sum())
            axes.set_title(f"{group} ({number} class{'es' * (number > 1)})", fontsize=9)
        figure.supxlabel("mean recall over classes, percent; the line is the joint classifier", fontsize=9)

    size = (9.4, 1.3 + 0.24 * len(ordered))
    return _drawing(found, name, title, {row: cells[row] for row in ordered}, paint, size)


def _dots(axes: Axes, figures: Sequence[Estimate], places: Sequence[float], style: Style, series: int) -> None:
    mark = style.mark(series)
    values = [100 * each.value for each in figures]
    halves = [100 * each.half() for each in figures]
    axes.errorbar(values, places, xerr=halves, fmt=mark.marker, color=mark.colour, markersize=5, elinewidth=1.2)


def _rows(axes: Axes, names: Sequence[str], style: Style) -> None:
    """The names down the side, the first above."""
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", color=style.bars, linewidth=0.6)
    axes.set_axisbelow(True)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, 0.0), min(high, 100.5))  # intervals know nothing of these ends
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _drawing(
    found: Evidence,
    name: str,
    title: str,
    cells: Rows,
    paint: Callable[[Figure, Style], None],
    size: tuple[float, float],
) -> Drawing:
    table = [
        (row, column, each.value, each.low(), each.high()) for row, of in cells.items() for column, each in of.items()
    ]
    several = all(each.times > 1 for of in cells.values() for each in of.values())
    over = "test rows and repetitions" if several else "test rows only: there is one repetition"
    return Drawing(
        f"{name}-{found.made.name}",
        f"{title}: {found.made.title}",
        f"Mean recall over classes; bars are 95 % intervals over {over}.",
        ["row", "column", "value", "from", "to"],
        table,
        paint,
        size,
    )
