"""Drawings as matplotlib figures, to be looked into."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from matplotlib import style as matplotlib_style
from matplotlib.figure import Figure

from rebalance.report.drawing import Drawing
from rebalance.report.style import LIGHT


@pytest.fixture
def painted() -> Iterator[Callable[[Drawing], Figure]]:
    """`painted(drawing)` is its figure, laid out as on a light page."""

    def paint(drawing: Drawing) -> Figure:
        figure = Figure(figsize=drawing.size, layout="constrained")
        drawing.paint(figure, LIGHT)
        figure.draw_without_rendering()
        return figure

    with matplotlib_style.context(["default", LIGHT.settings()]):
        yield paint


@pytest.fixture(scope="session")
def nasty() -> list[str]:
    """Names that break something somewhere."""
    return [
        *("$\\alpha", "a\x1b[31m", "$\\frac{", "x$y$z", "\n\n", "_^{}\\", "", "x" * 500, "\u202eabc", "\udcff"),
        *("猫", "🐈 cat", "שלום", "नमस्ते", "<script>alert(1)</script>", "]]>", "--><b>"),
    ]
