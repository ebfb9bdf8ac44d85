"""The report as one HTML file: all of it inline, nothing fetched, every stranger's text escaped by the template engine.

The file's policy (a Content-Security-Policy) lets the browser run the one script and use the one style it was written
with, by their hashes, and show pictures that lie in the file; all else is refused, whatever a text on the page may say.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePath
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rebalance.methods import METHODS
from rebalance.report.page.class_table import class_table
from rebalance.report.page.head_tables import head_tables
from rebalance.report.page.provenance import provenance, records
from rebalance.report.page.verdict import Payload, verdict

if TYPE_CHECKING:
    from rebalance.report.drawing import Drawing

WIDE = 1.9  # a figure whose width is more than so many times its height has a row of its own

# What no text of a stranger may bring: control characters, halves of a surrogate pair (which UTF-8 cannot write), and
# marks that turn the direction of the text around them. Joiners stay, for scripts and emoji need them.
_TURNS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\ufeff")


def render(payload: Payload, drawings: Sequence[Drawing]) -> str:
    """The page as HTML; the same payload and drawings give the same text.

    payload: what `compare --json` prints, with at least one head. drawings: the figures, in the order of the page.
    ValueError when there is no head.
    """
    if not payload["heads"]:
        raise ValueError("a report of no heads; expected at least one judged head")
    found = verdict(payload)
    others = [head["name"] for head in payload["heads"] if head["name"] != found.head]
    after = others[0] if found.is_reference and others else found.head
    style, script = _part("report.css"), _part("report.js")
    return (
        _environment()
        .get_template("report.html")
        .render(
            payload=payload,
            cache=PurePath(payload["cache"]).name or payload["cache"],
            verdict=found,
            tables=head_tables(payload),
            notes=_notes(payload),
            classes=class_table(payload, after),
            figures=[_figure(drawing) for drawing in drawings],
            provenance=provenance(payload),
            records=records(payload),
            methods=_methods(payload),
            style=Markup(style),
            script=Markup(script),
            policy=_policy(style, script),
        )
    )


def printable(value: object) -> object:
    """What is put into the page, escaped afterwards: text without control characters and marks of direction."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    if text.isprintable():
        return text
    return "".join(" " if char in "\n\t" else "\ufffd" if _bad(char) else char for char in text)


def pieces(name: object) -> list[str]:
    """The name in parts that a line may end after: behind every dot and underscore."""
    return re.findall(r"[^._]*[._]|[^._]+", str(name))


def _bad(char: str) -> bool:
    return char in _TURNS or unicodedata.category(char) in ("Cc", "Cs")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rebalance.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pieces"] = pieces
    return environment


def _part(name: str) -> str:
    return files("rebalance.report.page").joinpath("templates", name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; style-src {allowed(style)}; script-src {allowed(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@dataclass(frozen=True)
class _Figure:
    """A drawing for light and dark pages as data: URLs, with its size in CSS pixels (None: it does not say)."""

    name: str
    title: str
    caption: str
    light: str
    dark: str
    size: tuple[int, int] | None

    @property
    def wide(self) -> bool:
        return self.size is not None and self.size[0] > WIDE * self.size[1]


def _figure(drawing: Drawing) -> _Figure:
    light, dark = drawing.svg(dark=False), drawing.svg(dark=True)
    box = re.search(r'<svg[^>]*\bviewBox="0 0 ([0-9.]{1,9}) ([0-9.]{1,9})"', light)
    size = None if box is None else (round(float(box[1]) * 4 / 3), round(float(box[2]) * 4 / 3))
    return _Figure(drawing.name, drawing.title, drawing.caption, _data(light), _data(dark), size)


def _data(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _notes(payload: Payload) -> list[tuple[str | None, str]]:
    """(head, note), the notes of the whole with None; a head's note that the whole repeats is said once."""
    shared = dict.fromkeys(payload["notes"])
    own = [
        (head["name"], note)
        for head in payload["heads"]
        for note in dict.fromkeys(head["notes"])
        if not any(said.endswith(note) for said in shared)  # the whole may put names before it
    ]
    return [*((None, note) for note in shared), *own]


def _methods(payload: Payload) -> list[tuple[str, str, str]]:
    """(name, what it is, source) of the methods on the page, in the registry's order."""
    named = {str(head["record"].get("method")) for head in payload["heads"]} | {
        row["name"] for row in payload["failed"]
    }
    return [
        (name, (line.function.__doc__ or "").split("\n")[0], line.source)
        for name, line in METHODS.items()
        if name in named
    ]
