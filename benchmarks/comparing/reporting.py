"""What was measured, from the files of single sets to the three that are kept: text, JSON and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comparing.page import page
from comparing.tables import text
from comparing.verdict import better, sentences

ROOT = Path(__file__).resolve().parents[2]
TEXT, JSON, PAGE = "benchmarks/results/peers.txt", "benchmarks/results/peers.json", "docs/peers.md"


def kept(work: Path, name: str) -> Path:
    """The file of one set. work: the study's folder."""
    return work / "peers" / f"{name}.json"


def keep(work: Path, name: str, made: Mapping[str, Any]) -> None:
    """Keep what was measured on a set."""
    path = kept(work, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def begun(work: Path, name: str, how: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a run of the same kind that was stopped before its end; none where there is no such run.

    how: what was kept beside the rows; of "asked" every name has a row at the end.
    """
    path = kept(work, name)
    made = json.loads(path.read_text("utf-8")) if path.exists() else {"rows": []}
    rows: list[dict[str, Any]] = made.pop("rows")
    return rows if made == how and len(rows) < len(how["asked"]) else []


def report(work: Path, names: list[str], root: Path) -> str:
    """Write the three files below `root`, of those of these sets that were measured; what they say, as text.

    ValueError when there are none.
    """
    sets = {name: json.loads(kept(work, name).read_text("utf-8")) for name in names if kept(work, name).exists()}
    if not sets:
        raise ValueError(f"{work / 'peers'}: nothing was measured of {', '.join(names)}; run it first")
    said = printed(sets)
    for file, content in ((TEXT, said), (JSON, json.dumps(sets, indent=1)), (PAGE, page(sets).rstrip())):
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n", encoding="utf-8")
    return said


def printed(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """Machine and versions of every set, its table, and the verdict."""
    parts = []
    before = ""
    for name, made in sets.items():
        facts = made["facts"]
        if made["machine"] != before:
            parts.append(before := made["machine"])
        rows = facts["rows"]
        parts.append(
            f"{name}: {facts['title']}; {rows['train']:,} / {rows['val']:,} / {rows['test']:,} rows of train, val and "
            f"test, D = {facts['width']:,}, K = {facts['classes']:,}; {made['threads']} threads, limit "
            f"{made['limit']:g} s\n{text(made['rows'])}"
        )
    lost = ["; ".join(row) for row in better(sets)]
    verdict = [*sentences(sets), *(f"a peer is quicker or more accurate: {each}" for each in lost)]
    return "\n\n".join([*parts, "\n".join(f"- {each}" for each in verdict)])
