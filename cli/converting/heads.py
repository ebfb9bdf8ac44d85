"""Heads of other people's making into a head file, and a head file into arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..output import clean, note
from .class_names import read_names

if TYPE_CHECKING:
    from rebalance import LinearHead

HEAD = ".safetensors"
ENDINGS = (".npz", ".pt", ".pth")  # of arrays
ARRAYS = {"weight": "weight", "bias": "bias"}


def is_head_in(target: Path) -> bool:
    """Whether what is written is a head file, by its name."""
    return target.suffix.lower() == HEAD


def is_head_out(source: Path, target: Path) -> bool:
    """Whether a head file is to be written as arrays, by the names."""
    return source.suffix.lower() == HEAD and target.suffix.lower() in ENDINGS


def read_in(source: Path, target: Path, names: Mapping[str, str], class_names: Path | None) -> dict[str, Any]:
    """Somebody else's head as a head file.

    names: weight and bias -> what the source calls them. class_names: a text file. ValueError when it is no head or the
    target is there.
    """
    from rebalance.head_file import check_target, is_own

    check_target(target)
    if os.path.lexists(target):
        raise ValueError(f"{clean(str(target), 300)} exists already; name a new file")
    listed = None if class_names is None else read_names(class_names)
    own = is_own(source) and not names
    head, found = _own(source, listed) if own else _foreign(source, names, listed)
    head.save(target)
    return {"source": str(source), "target": str(target), **found, **_sizes(head)}


def write_out(source: Path, target: Path) -> dict[str, Any]:
    """A head file as arrays called weight and bias; ValueError for a head that is more than these."""
    from featurecache.convert.heads.files import write_head
    from rebalance import LinearHead, load_head

    head = load_head(source)
    if type(head) is not LinearHead:
        raise ValueError(
            f"{clean(str(source), 300)}: its logits are more than features @ weight.T + bias ({type(head).__name__}), "
            "which arrays alone cannot say; its tensors lie in the file by name, and rebalance export --module writes "
            "a program"
        )
    write_head(target, head.weight, head.bias)
    return {"source": str(source), "target": str(target), "format": "head", "arrays": ARRAYS, **_sizes(head)}


def _own(source: Path, class_names: list[str] | None) -> tuple[LinearHead, dict[str, Any]]:
    """A head that was saved here, of any type, with its record."""
    from rebalance import load_head

    head = load_head(source)
    if class_names is not None:
        if len(class_names) != head.num_classes:
            raise ValueError(
                f"{clean(str(source), 300)} has {head.num_classes} classes and there are {len(class_names)} class names"
            )
        head = head.with_record(class_names=class_names)
    return head, {"format": "head", "arrays": {name: name for name in head.tensors()}, "notes": []}


def _foreign(
    source: Path, names: Mapping[str, str], class_names: list[str] | None
) -> tuple[LinearHead, dict[str, Any]]:
    """A head that somebody else saved; its record says which arrays it was."""
    from featurecache.convert.heads.files import read_head
    from rebalance import LinearHead

    from ..caches import versions

    found = read_head(source, names=names, class_names=class_names)
    record = {
        "method": "converted",
        "hyperparameters": {},
        "source": source.name,
        "arrays": dict(found.arrays),
        "class_names": None if found.class_names is None else list(found.class_names),
        "versions": versions(),
    }
    head = LinearHead(found.weight, found.bias, record)
    return head, {"format": found.usage, "arrays": dict(found.arrays), "notes": list(found.notes)}


def _sizes(head: LinearHead) -> dict[str, Any]:
    return {"width": head.width, "classes": head.num_classes}


def show(payload: Mapping[str, Any]) -> None:
    """What was read, what was written, and what has to be known about it."""
    click.echo(f"{clean(payload['source'], 300)}: {payload['format']}")
    arrays = ", ".join(f"{ours} {clean(theirs, 80)}" for ours, theirs in payload["arrays"].items() if theirs)
    size = f"{payload['classes']} classes on {payload['width']} features"
    click.echo(f"{clean(payload['target'], 300)}: a head of {size} ({arrays})")
    for text in payload.get("notes", ()):
        note(f"rebalance: {text}")
