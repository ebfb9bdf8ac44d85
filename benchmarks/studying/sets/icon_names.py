"""Which drawings of the open icon sets show one thing: classes from their names, families from their makers."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

STYLES = (
    "24px alt baseline black bold broken bulk duo duotone fill filled flat icon light line linear lineal lg mono "
    "outline outlined regular remix round rounded sharp sm solid thin twotone xl xs 1x1"
)
# Drawn after one set of rules, and from one another.
KIN = (("ic", "material-symbols", "mdi", "zmdi"),)
BOX = ("left", "top", "width", "height")
SHARED = 0.05  # of a set's drawings in another set: they have them from one another


@dataclass(frozen=True)
class Drawing:
    """One icon. set, name: its set and its name there. shows: its class. body: SVG. box: left, top, width, height."""

    set: str
    name: str
    shows: str
    body: str
    box: tuple[float, float, float, float]


def drawings(folder: Path) -> list[Drawing]:
    """The drawings of one colour whose name says what they show, each once, by set and name.

    Left out are sets whose licence is GPL or forbids commercial use, and those of logos.

    folder: the content of the package @iconify/json.
    """
    found: dict[str, Drawing] = {}
    about = json.loads((folder / "collections.json").read_text("utf-8"))
    for prefix in sorted(name for name, facts in about.items() if _wanted(facts)):
        icons = json.loads((folder / "json" / f"{prefix}.json").read_text("utf-8"))
        for name, icon in sorted(icons["icons"].items()):
            if (shows := shown_by(name)) and not icon.get("hidden") and icon["body"] not in found:
                box = tuple({"left": 0, "top": 0, "width": 16, "height": 16, **icons, **icon}[key] for key in BOX)
                found[icon["body"]] = Drawing(prefix, name, shows, icon["body"], box)
    return list(found.values())


def _wanted(facts: dict[str, Any]) -> bool:
    licence = facts["license"].get("spdx", "")
    return not (facts.get("palette") or facts.get("category") == "Logos" or re.search("GPL|NC", licence or "NC"))


def shown_by(name: str) -> str | None:
    """The name without the words of its style and its number, None where nothing is left: "arrow-up-filled-24"."""
    styles = STYLES.split()
    words = [word for word in name.lower().replace("two-tone", "twotone").split("-") if word]
    while words and (words[-1] in styles or re.fullmatch("[0-9]+", words[-1])):
        words.pop()
    while words and words[0] in styles:
        words.pop(0)
    return "-".join(words) if re.fullmatch("[a-z-]*[a-z]{3}[a-z-]*", "-".join(words)) else None


def families(folder: Path, sets: Iterable[str]) -> dict[str, str]:
    """Set -> the first name of its family: sets of one author, of one kin, or that share drawings.

    folder: as in `drawings`. sets: their prefixes.
    """
    about = json.loads((folder / "collections.json").read_text("utf-8"))
    bodies: dict[str, set[str]] = {}
    authors: dict[str, list[str]] = defaultdict(list)
    for prefix in sorted(sets):
        icons = json.loads((folder / "json" / f"{prefix}.json").read_text("utf-8"))["icons"]
        # Forks change how a path is painted, not where it runs.
        bodies[prefix] = {re.sub('(fill|stroke[a-z-]*)="[^"]*"', "", icon["body"]) for icon in icons.values()}
        authors[about[prefix]["author"]["name"]].append(prefix)
    family = {prefix: prefix for prefix in bodies}
    alike = [(a, b) for a, b in combinations(bodies, 2) if _share(bodies[a], bodies[b]) >= SHARED]
    for group in (*authors.values(), *KIN, *alike):
        names = {family[prefix] for prefix in group if prefix in family}
        family = {prefix: min(names) if name in names else name for prefix, name in family.items()}
    return family


def _share(one: set[str], other: set[str]) -> float:
    return len(one & other) / min(len(one), len(other))
