"""Links of a page to what lies outside of this folder, which are for who reads the page on a code host.

Sphinx has no page for a Markdown file there, so it becomes a download, as the parser makes one of any other file; the
name of a folder stays as text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<path>\.\./[^)#]+)\)")


def downloads(text: str, page: Path, root: Path) -> str:
    """The page's text with the links that lead out of root to Markdown files and folders replaced."""

    def link(found: re.Match[str]) -> str:
        target = (page.parent / found["path"]).resolve()
        if target.is_relative_to(root) or not (target.is_dir() or (target.suffix == ".md" and target.exists())):
            return found[0]
        text = found["text"].replace("`", "")
        return found["text"] if target.is_dir() else f"{{download}}`{text} <{found['path']}>`"

    return _LINK.sub(link, text)


def rewrite(app: Sphinx, name: str, content: list[str]) -> None:
    """Sphinx's event source-read."""
    content[0] = downloads(content[0], Path(app.env.doc2path(name)), Path(app.srcdir))


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("source-read", rewrite)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
