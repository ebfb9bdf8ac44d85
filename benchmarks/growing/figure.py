"""Seconds and memory over rows, both axes in powers of ten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from extracting.growth import ALLOWED
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from growing.report import grown_of, timed
from growing.slopes import at
from rebalance.report.style import LIGHT
from rebalance.report.svg import slim


def draw(found: Mapping[str, Any], folder: Path) -> None:
    """Write growth.svg and growth.png."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **LIGHT.settings(), "svg.hashsalt": "growth"}):
        figure = Figure(figsize=(10, 5), layout="constrained")
        time, memory = figure.subplots(1, 2)
        sizes = found["sizes"]
        for place, name in enumerate(grown_of(found)):
            runs, of = timed(found, name)
            mark = LIGHT.mark(place)
            style = {"color": mark.colour, "marker": mark.marker, "linestyle": mark.line, "markersize": 4}
            time.plot(sizes, [at(runs, rows, f"{of}processor") for rows in sizes], label=name, **style)
            held = [max(at(runs, rows, f"{of}anonymous"), 1e6) / 1e6 for rows in sizes]
            memory.plot(sizes, held, **style)
        _guide(time, sizes, 1e-6, "1 µs a row")
        _guide(memory, sizes, ALLOWED / 1e6, f"{ALLOWED} bytes a row")
        _axes(time, "processor seconds")
        _axes(memory, "MB of anonymous memory at most")
        figure.legend(loc="outside lower center", ncols=4, fontsize="small", frameon=False)
        figure.savefig(folder / "growth.png", dpi=110)
        figure.savefig(folder / "growth.svg", metadata={"Date": None})
    svg = folder / "growth.svg"
    svg.write_text(slim(svg.read_text("utf-8")), "utf-8")


def _guide(axes: Axes, sizes: list[int], slope: float, text: str) -> None:
    ends = sizes[0], sizes[-1]
    axes.plot(ends, [slope * rows for rows in ends], color=LIGHT.faint, linewidth=3, alpha=0.5, zorder=0)
    axes.annotate(text, (ends[1], slope * ends[1]), ha="right", va="bottom", color=LIGHT.faint, fontsize="small")


def _axes(axes: Axes, what: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter(lambda rows, _: f"{rows:,.0f}")
    axes.set_xlabel("rows")
    axes.set_ylabel(what)
