"""A figure of a report: what it shows, in numbers and as a picture."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import style as matplotlib_style
from matplotlib.figure import Figure

from rebalance.report.csv_file import write_csv
from rebalance.report.style import DARK, LIGHT, Style
from rebalance.report.svg import slim
from rebalance.whole_file import whole_file

# No date, and nothing that points elsewhere: the same figure is the same file.
_METADATA: dict[str, dict[str, None]] = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": {"CreationDate": None},
    "png": {},
}


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn when it is asked for, on matplotlib's own Figure: no global state, no display.

    name: of its files, without ending. title, caption: in words, as plain text. columns, rows: the numbers it shows.
    paint: ``paint(figure, style)`` draws it. size: width and height, inches.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    paint: Callable[[Figure, Style], None]
    size: tuple[float, float] = (7.2, 4.2)

    def svg(self, dark: bool = False) -> str:
        """The picture as an SVG document that refers to nothing outside; for a dark page without a background."""
        return slim(self._rendered("svg", DARK if dark else LIGHT).decode("utf-8"))

    def png(self) -> bytes:
        """The picture as a PNG file of 150 dots an inch."""
        return self._rendered("png", LIGHT)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the picture as .svg and .png and its numbers as .csv; the three paths.

        folder: it must be there.
        """
        paths = [Path(folder, f"{self.name}.{ending}") for ending in ("svg", "png", "csv")]
        for path in paths:
            self.write(path)
        return paths

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write one file, under a temporary name that is renamed when the file is whole.

        path: its ending decides: .svg, .png or .pdf for the picture, .csv for the numbers. ValueError for another,
        FileNotFoundError where there is no such folder.
        """
        path = Path(path)
        ending = path.suffix.lower().lstrip(".")
        if ending == "csv":
            write_csv(path, self.columns, self.rows)
            return
        if ending not in _METADATA:
            raise ValueError(f"{path.name}: cannot draw a figure as .{ending}; expected .svg, .png, .pdf or .csv")
        whole = self.svg().encode("utf-8") if ending == "svg" else self._rendered(ending, LIGHT)
        with whole_file(path) as file:
            file.write(whole)

    def _rendered(self, ending: str, look: Style) -> bytes:
        out = io.BytesIO()
        # Within: artists take their settings when they are made, texts when they are drawn.
        with matplotlib_style.context(["default", look.settings()]):
            figure = Figure(figsize=self.size, layout="constrained")
            self.paint(figure, look)
            figure.savefig(out, format=ending, dpi=150, metadata=_METADATA[ending])
        return out.getvalue()
