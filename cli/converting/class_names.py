"""The class names in a text file."""

from __future__ import annotations

from pathlib import Path

MAX_NAMES = 2**26  # bytes


def read_names(path: Path) -> list[str]:
    """The lines of a text file, class 0 first; ValueError where one is empty or no text."""
    from featurecache.disk import read_head

    try:
        lines = read_head(path, MAX_NAMES).decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"--class-names {path}: expected text in UTF-8, a name a line") from None
    if empty := [number for number, line in enumerate(lines, start=1) if not line.strip()]:
        raise ValueError(f"--class-names {path}: line {empty[0]} is empty; expected a name a line, class 0 first")
    return lines
