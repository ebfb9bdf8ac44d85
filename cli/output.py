"""What commands show: tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import click

LINE_EVERY = 5.0  # seconds between two lines of progress where stderr is no terminal
GAP = 2  # spaces between two columns

Cell: TypeAlias = str | tuple[str, str]
"""What stands in a table: a text, or a text and its colour."""


def emit(payload: dict[str, Any], *, as_json: bool) -> bool:
    """Print the payload if JSON was asked for; whether it was."""
    if as_json:
        click.echo(json.dumps(payload, ensure_ascii=False, allow_nan=False))
    return as_json


def note(text: str) -> None:
    """A line for the person at the keyboard, on stderr."""
    click.echo(text, err=True)


def clean(text: str, limit: int = 60) -> str:
    """A stranger's text for a terminal: no control or direction-changing characters, of bounded length."""
    kept = "".join(char if char.isprintable() else "�" for char in text)
    return kept if len(kept) <= limit else f"{kept[: limit - 1]}…"


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal, a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}"


def size(count: int) -> str:
    """Bytes in the unit that fits."""
    for unit, limit in (("kB", 1e6), ("MB", 1e9)):
        if count < limit:
            return f"{count / limit * 1000:.1f} {unit}"
    return f"{count / 1e9:.1f} GB"


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, caption: str | None = None) -> None:
    """A table on stdout; the first column is text, the others are numbers.

    rows: of texts; a text and a colour show the colour on a terminal. caption: a line below.
    Columns that a terminal has no room for go on below, beside the first column again. A pipe has no width: it gets
    every column whole.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts = [
        [Text(clean(cell)) if isinstance(cell, str) else Text(clean(cell[0]), cell[1]) for cell in row] for row in rows
    ]
    widths = [
        max(cell_len(text) for text in (name, *(row[i].plain for row in texts))) for i, name in enumerate(columns)
    ]
    whole = sum(widths) + GAP * len(widths)
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else whole)
    for part in _folded(widths, room := console.width):
        console.width = max(room, sum(widths[i] + GAP for i in part))
        grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        for i in part:
            grid.add_column(clean(columns[i]), justify="right" if i else "left", no_wrap=True)
        for row in texts:
            grid.add_row(*(row[i] for i in part))
        console.print(grid)
    if caption:
        click.echo(caption)


def _folded(widths: Sequence[int], room: int) -> list[list[int]]:
    """The columns of one table below the other, each with the first column, none wider than the room if that can be."""
    parts, used = [[0]], widths[0]
    for i, width in enumerate(widths[1:], start=1):
        if used + GAP + width > room and len(parts[-1]) > 1:
            parts.append([0])
            used = widths[0]
        parts[-1].append(i)
        used += GAP + width
    return parts


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal, a line every few seconds elsewhere; yields ``update(done, total, text)``."""
    if sys.stderr.isatty():
        with _bar(title) as update:
            yield update
    else:
        yield _lines(title)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(title), total=None)

        def update(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(f"{title} {clean(text)}"))

        yield update


def _lines(title: str) -> Callable[[int, int, str], None]:
    last = time.monotonic()

    def update(done: int, total: int, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            note(f"{title} {clean(text)} {done}/{total}")

    return update
