"""The directive ``figure-cards``: pictures side by side, each a link to the page that explains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

CARD = """\
:::{{grid-item-card}} {title}
:img-top: {picture}
:img-alt: {title}
:link: {page}
:link-type: doc

{text}
:::
"""


class FigureCards(SphinxDirective):
    """A line a card: ``picture | page | title | text``; a picture that is not there yet has no card."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The cards."""
        cards = []
        for line in self.content:
            picture, page, title, text = (part.strip() for part in line.split("|"))
            if (Path(self.env.srcdir) / picture).exists():
                cards.append(CARD.format(picture=picture, page=page, title=title, text=text))
        grid = "::::{grid} 1 1 2 2\n:gutter: 3\n\n" + "\n".join(cards) + "::::\n"
        return self.parse_text_to_nodes(grid)


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.add_directive("figure-cards", FigureCards)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
