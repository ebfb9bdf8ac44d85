"""Formulas as drawings within the page, in the colour of its text.

The usual renderer fetches a program from a server, and MathML looks as the reader's fonts happen to allow.
"""

from __future__ import annotations

import html
from typing import Any

from docutils import nodes
from matplotlib import rc_context
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

SIZE = 10.0  # of an em in the drawing
LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


def drawing(formula: str) -> str:
    """The formula as an SVG element whose baseline is that of the line it stands in; ValueError names what is unknown.

    formula: in TeX, as far as matplotlib reads it.
    """
    text = f"${' '.join(formula.split())}$"
    with rc_context({"mathtext.fontset": "stix"}):
        font = FontProperties(size=SIZE)
        width, height, depth, *_ = MathTextParser("path").parse(text, dpi=72, prop=font)
        path = TextPath((0, 0), text, prop=font)
    commands = []
    for points, code in path.iter_segments(curves=True, simplify=False):
        where = " ".join(f"{value:.2f}" for value in points * ([1, -1] * (len(points) // 2)))
        commands.append("Z" if code == Path.CLOSEPOLY else LETTERS[code] + where)
    below, above = depth + 0.5, height - depth + 0.5  # half a unit for what is drawn beyond the box
    size = f"width:{width / SIZE:.3f}em;height:{(above + below) / SIZE:.3f}em;vertical-align:{-below / SIZE:.3f}em"
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(formula)}" fill="currentColor" style="{size}" '
        f'viewBox="0 {-above:.2f} {width:.2f} {above + below:.2f}"><path d="{"".join(commands)}"/></svg>'
    )


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    """A formula within a line."""
    writer.body.append(drawing(node.astext()))
    raise nodes.SkipNode


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    """A formula of its own."""
    tall = node.astext().replace(r"\frac", r"\dfrac")
    writer.body.append(f'<div class="formula">{drawing(tall)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.add_html_math_renderer("drawn", (inline, None), (block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
