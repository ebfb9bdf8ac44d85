"""Where the figures come from, as short lines of text: the cache, the options, the versions, each head's record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from reprlib import Repr
from typing import Any

from rebalance.report.page.verdict import Payload

MOST_LINES = 100  # of one record
LONGEST = 400  # characters of one text; the rest is cut out of its middle
FIRST = ("method", "hyperparameters", "fitted_on", "tuned_on", "tuned")  # of a record; the rest follows by name
DEEPEST = 4  # objects within objects that have lines of their own

_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple = 3, 20, 12, 12
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 120

Lines = list[tuple[str, str]]


def provenance(payload: Payload) -> list[tuple[str, Lines]]:
    """(title, lines of (name, text)) of what every head of the page shares."""
    source = payload["provenance"]
    judged = {
        "cache": payload["cache"],
        "hash": source["cache"],
        "layer": source["layer"],
        "split": payload["split"],
        "rows": payload["rows"],
        "target prior": payload["target_prior"] or "none: the rows as they are",
        "costs": payload["costs"] or "none",
        "replicates": payload["replicates"],
        "seed": payload["seed"],
    }
    files = {key: payload[key] for key in ("report", "predictions") if payload.get(key)}
    if payload.get("figures"):
        files["figures"] = _folders(payload["figures"])
    parts = {
        "Judged on": judged,
        "Options": source["options"],
        "Versions": source["versions"],
        "The split was made with": source["created_with"],
        "Joint head": _unnamed(source["joint"]) if isinstance(source["joint"], Mapping) else {"hash": source["joint"]},
        "Files": files,
    }
    return [(title, lines(part)) for title, part in parts.items() if part and part != {"hash": None}]


@dataclass(frozen=True)
class Record:
    """How one head was made. made: in a few words. file: it was read from or is kept in, or "". lines: (name, text)."""

    head: str
    made: str
    file: str
    lines: Lines


def records(payload: Payload) -> list[Record]:
    """How every head was made; the names of the classes, which the page has elsewhere, are left out."""
    return [_record(head["name"], head.get("file"), head["record"]) for head in payload["heads"]]


def _record(name: str, file: str | None, record: Mapping[str, Any]) -> Record:
    kept = _unnamed(record)
    words = [f"{on.replace('_', ' ')} {text(kept[on])}" for on in ("fitted_on", "tuned_on") if kept.get(on)]
    match kept.get("tuned"):
        case {"parameters": dict(chosen)}:
            words += [f"{_cut(key)} = {_brief(value)}" for key, value in list(chosen.items())[:5]]
    return Record(name, ", ".join(words), _cut(file or ""), lines(({"file": file} if file else {}) | kept))


def _folders(paths: Sequence[str]) -> str:
    """Where files lie and how many: a folder's worth of drawings is no list to read."""
    found = Counter(str(PurePath(path).parent) for path in paths)
    return ", ".join(f"{folder}: {number} {'file' if number == 1 else 'files'}" for folder, number in found.items())


def _unnamed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record in an order of its own: files keep theirs in any."""
    keys = [*(key for key in FIRST if key in record), *sorted(set(record) - {*FIRST, "class_names"})]
    return {key: record[key] for key in keys}


def _brief(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else text(value)


def lines(value: object) -> Lines:
    """A value of JSON as lines of (name, text), names within an object behind a dot; about MOST_LINES at most.

    value: of any depth and size, for it may be a stranger's; a list or a text that is long is cut.
    """
    if not isinstance(value, Mapping):
        return [("", text(value))]
    found: Lines = []
    for key, inner in _flat(value):
        if len(found) == MOST_LINES:
            return [*found, ("…", "more is in the JSON output")]
        found.append((key, inner))
    return found


def _flat(value: Mapping[str, Any], before: str = "", depth: int = 1) -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        name = f"{before}{_cut(key)}"
        if isinstance(inner, Mapping) and inner and depth < DEEPEST:
            yield from _flat(inner, f"{name}.", depth + 1)
        else:
            yield name, text(inner)


def text(value: Any) -> str:
    """One value as one line of bounded length."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case str():
            return _cut(value)
        case [str(), *_] if all(isinstance(part, str) for part in value):
            return _cut(", ".join(value))
        case _:
            return _SHORT.repr(value)


def _cut(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]}…{text[-half:]}"
