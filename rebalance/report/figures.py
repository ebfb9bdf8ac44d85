"""Two pictures of a rebalanced head: recall per class, and weight norm against class size.

Both are drawn on matplotlib's own Figure, without pyplot: no global state, no display.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter
from numpy.typing import ArrayLike, NDArray

# Okabe and Ito's palette: told apart by colour-blind readers; the markers do so in print.
COLOURS = ("#7f7f7f", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
NAMED = 30  # more classes than this are not named under the axis


def before_after(
    recalls: Mapping[str, ArrayLike],
    norms: Mapping[str, ArrayLike],
    counts: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Both pictures side by side.

    recalls: (K,) recall per class by head, the first the one to compare with; NaN where a class has no row.
    norms: (K,) weight norm per class by head. counts: (K,) training rows a class. class_names: K names.
    """
    rows = np.asarray(counts)
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=(3, 2))
    left, right = halves
    draw_recall(left.subplots(), recalls, rows, class_names)
    draw_norms(right.subplots(), norms, rows)
    for half, columns in ((left, 5), (right, 2)):
        # Outside, where the layout makes room for it however long the class names under the axis are.
        half.legend(loc="outside lower center", ncols=columns, frameon=False, columnspacing=1.2)
    return figure


def _styles() -> Iterator[tuple[str, str]]:
    """A colour and a marker for one head after another; more heads than colours begin again with other markers."""
    for i in itertools.count():
        yield COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]


def draw_recall(
    axes: Axes,
    recalls: Mapping[str, ArrayLike],
    counts: NDArray[np.int64],
    class_names: Sequence[str] | None = None,
) -> None:
    """Recall per class, the classes sorted by training rows, with the rows as bars behind."""
    order = np.argsort(-counts, kind="stable")
    place = np.arange(len(order))
    behind = axes.twinx()
    behind.bar(place, counts[order], color="#e8e8e8", width=0.9)
    behind.set_ylabel("training rows (bars)")
    behind.set_ylim(0, counts.max() * 1.05)
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    for (name, recall), (colour, marker) in zip(recalls.items(), _styles(), strict=False):
        values = np.asarray(recall, dtype=np.float64)[order]
        size = 5 if len(order) <= 100 else 2
        axes.plot(place, values, color=colour, marker=marker, markersize=size, linewidth=1.4, label=_label(name))
    axes.set(title="Recall per class", ylabel="recall", ylim=(-0.03, 1.03))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if len(order) <= NAMED and class_names is not None:
        axes.set_xticks(place, [plain(class_names[k], 12) for k in order], rotation=45, ha="right")
        axes.set_xlabel("class, most training rows first")
    else:
        axes.set_xlabel("classes, most training rows first")


def draw_norms(axes: Axes, norms: Mapping[str, ArrayLike], counts: NDArray[np.int64]) -> None:
    """Weight norm against training rows, both relative and logarithmic, with Spearman's correlation.

    Source: Kang et al. (ICLR 2020), figure 2: joint training gives frequent classes the larger norms.
    """
    rows = np.maximum(counts, 0.5)
    for (name, norm), (colour, marker) in zip(norms.items(), _styles(), strict=False):
        values = np.asarray(norm, dtype=np.float64)
        label = f"{_label(name)} (ρ = {spearman(values, counts):+.2f})"
        axes.scatter(rows, values / (values.mean() or 1.0), color=colour, marker=marker, s=22, label=label)
    axes.set(
        title="Weight norm against class size",
        xlabel="training rows of the class",
        ylabel="weight norm / mean norm",
        xscale="log",
    )
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.axhline(1.0, color="#bbbbbb", linewidth=0.8, zorder=0)


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation; 0 where one side is constant (equal norms have no order)."""
    from scipy.stats import rankdata

    # Norms that differ by rounding are equal: rank them so, or their noise would be called a correlation.
    x = rankdata(np.round(np.asarray(a, dtype=np.float64) / (np.max(np.abs(a)) or 1.0), 5))
    y = rankdata(b)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _label(name: str) -> str:
    """A head's name for a legend; matplotlib leaves names out that begin with an underscore."""
    return f" {plain(name)}" if name.startswith("_") else plain(name)


def plain(text: str, limit: int = 30) -> str:
    """A stranger's name as matplotlib may draw it: no mathtext, no control characters, of bounded length."""
    kept = "".join(char if char.isprintable() else "�" for char in text)
    return (kept if len(kept) <= limit else f"{kept[: limit - 1]}…").replace("$", r"\$")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure; the ending decides the format (png, svg, pdf). ValueError for one it cannot write."""
    # No date and fixed ids: the same figure is the same file.
    dated = {".svg": "Date", ".svgz": "Date", ".pdf": "CreationDate"}.get(os.path.splitext(path)[1].lower())
    with rc_context({"svg.hashsalt": "rebalance"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)  # drawn as a box
        figure.savefig(path, dpi=150, metadata={dated: None} if dated else None)
