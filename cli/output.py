"""What commands show: tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

LINE_EVERY = 5.0  # seconds between two lines of progress where stderr is no terminal


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


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str | None = None) -> None:
    """A table on stdout; the first column is text, the others are numbers."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A pipe has no width: it gets every column whole, a terminal what fits.
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160)
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, name in enumerate(columns):
        grid.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(clean(cell)) for cell in row))
    console.print(grid)
    if caption:
        click.echo(caption)


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
