"""How figures look: colours, markers, line styles and hatches for light and dark pages, and names that can be drawn."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from matplotlib.font_manager import findfont, get_font

FONT = "DejaVu Sans"  # it comes with matplotlib: the same figure everywhere
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oooo", "----")
Dashes: TypeAlias = str | tuple[int, tuple[float, ...]]
LINES: tuple[Dashes, ...] = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1)), (0, (1, 3)))


@dataclass(frozen=True)
class Mark:
    """What tells one series from another, by more than its colour."""

    colour: str
    marker: str
    line: Dashes
    hatch: str


@dataclass(frozen=True)
class Style:
    """The colours of a page. series: Okabe and Ito's palette, told apart by colour-blind readers.

    page: behind the figure. ink: text and the most important line. faint: axes and guides. bars: what stands behind.
    """

    page: str
    ink: str
    faint: str
    bars: str
    series: tuple[str, ...]

    def mark(self, place: int) -> Mark:
        """The mark of the series at this place; more series than colours begin again with other markers."""
        turn, colour = divmod(place, len(self.series))
        return Mark(
            self.series[colour],
            MARKERS[(place + turn) % len(MARKERS)],
            LINES[(place + turn) % len(LINES)],
            HATCHES[(place + turn) % len(HATCHES)],
        )

    def settings(self) -> dict[str, Any]:
        """Matplotlib's settings, over its own defaults: the user's own do not change the figures of a report."""
        edges = dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), self.faint)
        text = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
        page = dict.fromkeys(("figure.facecolor", "savefig.facecolor"), self.page)
        return {
            "text.parse_math": False,  # a stranger's $ is a dollar
            "svg.fonttype": "path",  # the reader needs no font
            "svg.hashsalt": "rebalance",
            "font.family": FONT,
            "font.size": 9.0,
            "axes.titlesize": 10.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.facecolor": "none",
            "legend.frameon": False,
            "hatch.linewidth": 0.5,
            "lines.linewidth": 1.4,
            **edges,
            **dict.fromkeys(text, self.ink),
            **page,
        }


LIGHT = Style(
    page="#ffffff",
    ink="#1a1a1a",
    faint="#8c8c8c",
    bars="#e6e6e6",
    series=("#737373", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
)
DARK = Style(
    page="none",
    ink="#ececec",
    faint="#8f8f8f",
    bars="#3d3d3d",
    series=("#b8b8b8", "#F0772B", "#4DA3E0", "#25B88D", "#DE97C0", "#F0B429", "#8DD0F5", "#ffffff"),
)


def plain(text: str, limit: int = 30) -> str:
    """A stranger's name as it may be drawn: no control characters, nothing the font has not, of bounded length."""
    shown = "".join(_drawn(char) for char in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def label(name: str, limit: int = 30) -> str:
    """A head's name for a legend; matplotlib leaves names out that begin with an underscore."""
    shown = plain(name, limit)
    return f" {shown}" if shown.startswith("_") else shown or "□"


def head_labels(names: Iterable[str], limit: int = 26) -> dict[str, str]:
    """What each head is called in a figure: its name, or its place among them where it has none that could be read."""
    return {name: label(name, limit) if _readable(plain(name)) else f"head {i}" for i, name in enumerate(names, 1)}


def class_labels(class_names: Sequence[str] | None, num_classes: int, limit: int = 24) -> list[str]:
    """What each class is called in a figure: its name, or its id where it has none that could be read."""
    if class_names is None:
        return [str(k) for k in range(num_classes)]
    shown = [plain(name, limit) for name in class_names]
    return [text if _readable(text) else f"class {k}" for k, text in enumerate(shown)]


def _readable(shown: str) -> bool:
    """Whether more of a name than half could be drawn."""
    return 2 * sum(char in "□�" for char in shown) < len(shown)


def _drawn(char: str) -> str:
    """The character, or what stands for it: a space for any space, a box for what the font has not."""
    if unicodedata.category(char) == "Zs":
        return " "
    if not char.isprintable():
        return "�"
    return char if ord(char) in _glyphs() else "□"


@functools.cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())
