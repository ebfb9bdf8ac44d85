"""The help of the commands as Sphinx reads it: plain text as it is, examples as code that can be copied."""

from __future__ import annotations

import re
from typing import Any

import click
from docstring_fields import plain
from sphinx.application import Sphinx


def description(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Paragraphs of plain text; a list whose lines click keeps is one here, too."""
    lines[:] = [f"| {plain(line[2:])}" if line.startswith("| ") else plain(line) for line in lines]


def options(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """An option and its help, without the markers of a program's representation."""
    for place, line in enumerate(lines):
        text = line.strip()
        indent = line[: len(line) - len(line.lstrip())]
        if not text or text.startswith(".. option::"):
            continue
        if text.startswith(":default:"):
            lines[place] = re.sub(r"``'(.*)'``", r"``\1``", line)
        elif not text.startswith(":options:"):
            required, _, rest = text.rpartition("**Required** ")
            lines[place] = f"{indent}{'**Required.** ' if required or rest != text else ''}{plain(rest)}"


def example(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """The example at the end of a command's help."""
    shown = [line.removeprefix("|").strip() for line in lines]
    commands = [line for line in shown if line and line != "Example:"]
    if commands:
        lines[:] = [".. rubric:: Example", "", ".. code-block:: sh", "", *(f"    {line}" for line in commands), ""]


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.setup_extension("sphinx_click")
    app.connect("sphinx-click-process-description", description)
    app.connect("sphinx-click-process-options", options)
    app.connect("sphinx-click-process-epilog", example)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
