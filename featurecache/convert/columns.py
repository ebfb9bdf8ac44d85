"""Which of a stranger's columns are the features, labels, logits and sample ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from featurecache import layout
from featurecache.quoting import shown

# Rows of a foreign file: "features" (n, D), and where it has them "labels" (n,), "logits" (n, K), "sample_id" (n str).
Block: TypeAlias = dict[str, Any]

# Our name -> what others call it: compared in lower case, and without the groups it lies in (train/feats is feats).
ALIASES = {
    "features": ("features", "feature", "feats", "feat", "embeddings", "embedding", "emb", "img_emb", "feature_*", "x"),
    "labels": ("labels", "label", "targets", "target", "y"),
    "logits": ("logits", "scores", "outputs"),
    "sample_id": ("sample_id", "sample_ids", "ids", "id", "paths", "path", "filenames", "filename", "image_path"),
}
DIMENSIONS = {"features": 2, "labels": 1, "logits": 2, "sample_id": 1}
WIDEST = {"features": layout.MAX_WIDTH, "logits": layout.MAX_CLASSES}
MAX_ROWS = 10**9
MAX_LISTED = 500  # characters of a message for the columns that are there


def find_columns(there: Mapping[str, tuple[int, ...]], names: Mapping[str, str], source: Path) -> dict[str, str]:
    """Our name -> theirs, for every column to read; "features" is always among them, and all shapes fit.

    there: what the file has, their names -> shapes. names: our names -> theirs, as the user said; an empty text
        means that this column is not to be read.
    source: the file, for messages.
    ValueError, listing what is there, when a name is unknown, when nothing or more than one column could be meant, or
    when shapes do not fit one another.
    """
    for ours, theirs in names.items():
        if ours not in ALIASES:
            raise ValueError(f"--map {shown(ours)}=…: expected one of {', '.join(ALIASES)}")
        if theirs and theirs not in there:
            raise ValueError(f"{layout.shown(source)}: no column {shown(theirs)}; {_listed(there)}")
    out = {ours: names[ours] if ours in names else _recognised(ours, there, source) for ours in ALIASES}
    chosen = {ours: theirs for ours, theirs in out.items() if theirs}
    if "features" not in chosen:
        raise ValueError(
            f"{layout.shown(source)}: no column that is known to hold features; {_listed(there)}; "
            "say which: --map features=NAME"
        )
    _check_shapes({ours: (theirs, there[theirs]) for ours, theirs in chosen.items()}, source)
    return chosen


def would_be(name: str, names: Mapping[str, str]) -> bool:
    """Whether a column that cannot be read would have been taken, so that leaving it out must not pass in silence.

    name: theirs. names: our names -> theirs, as the user said.
    """
    return any(name.rsplit("/", 1)[-1].lower() in aliases for ours, aliases in ALIASES.items() if ours not in names)


def _recognised(ours: str, there: Mapping[str, tuple[int, ...]], source: Path) -> str:
    """Their name of one of our columns, or nothing; ValueError when it could be two."""
    found = [
        name
        for name, shape in there.items()
        if name.rsplit("/", 1)[-1].lower() in ALIASES[ours] and len(shape) == DIMENSIONS[ours]
    ]
    if len(found) > 1:
        raise ValueError(
            f"{layout.shown(source)}: more than one column may hold the {ours} ({_joined(map(shown, found))}); "
            f"say which: --map {ours}=NAME"
        )
    return found[0] if found else ""


def _check_shapes(chosen: Mapping[str, tuple[str, tuple[int, ...]]], source: Path) -> None:
    name, shape = chosen["features"]
    rows = shape[0] if shape else 0
    for ours, (theirs, size) in chosen.items():
        expected = "(N, D)" if ours == "features" else f"({rows}, K)" if ours == "logits" else f"({rows},)"
        widest = WIDEST.get(ours)
        if len(size) != DIMENSIONS[ours] or size[0] != rows or (widest and not 0 < size[1] <= widest):
            raise ValueError(
                f"{layout.shown(source)}: {ours} {shown(theirs)} have shape {_shape(size)}; expected {expected}"
                + (f" with at most {widest} columns" if widest else "")
                + ("" if ours == "features" else f", a row for each of the features {shown(name)}")
            )
    if not 0 < rows <= MAX_ROWS:
        raise ValueError(f"{layout.shown(source)}: features {shown(name)} have {rows} rows; expected 1 to {MAX_ROWS}")


def _listed(there: Mapping[str, tuple[int, ...]]) -> str:
    if not there:
        return "there are no columns"
    return "there are " + _joined(f"{shown(name)} {_shape(shape)}" for name, shape in there.items())


def _joined(parts: Any) -> str:
    """As many of the parts as a line holds."""
    out = ""
    for i, part in enumerate(parts):
        if len(out) + len(part) > MAX_LISTED:
            return f"{out}, …"
        out += f", {part}" if i else part
    return out


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"[:80]
