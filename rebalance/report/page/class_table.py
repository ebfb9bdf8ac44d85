"""The table of the page that has a row a class: training rows, recall and precision before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rebalance.classes import GROUPS, Shots
from rebalance.report.page.cells import EMPTY, Cell, count, difference, figure, spanned
from rebalance.report.page.verdict import Payload, find


@dataclass(frozen=True)
class ClassRow:
    """A class: its id, its name (None where nobody named the classes) and its cells."""

    number: int
    name: str | None
    cells: list[Cell]


@dataclass(frozen=True)
class ClassTable:
    """named: whether the classes have names. columns: (title, group of columns) of every column behind the name."""

    named: bool
    columns: list[tuple[str, str]]
    rows: list[ClassRow]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The titles above the columns with the number of columns each spans."""
        return spanned([group for _, group in self.columns])


def class_table(payload: Payload, after: str) -> ClassTable:
    """The classes by id, under the head that the others are compared with and under one of these.

    after: the name of that one; whichever of the two was judged alone stands alone.
    """
    classes = payload["classes"]
    names, counts = classes["names"], classes["counts"]
    heads = [find(payload, name) for name in dict.fromkeys((payload["against"], after))]
    judged = [head for head in heads if head is not None]
    columns = [("group", ""), ("training rows", "")] if counts is not None else []
    columns.append((f"{payload['split']} rows", ""))
    columns += [(head["name"], "recall") for head in judged]
    columns += [("difference", "recall")] if len(judged) == 2 else []
    columns += [(head["name"], "precision") for head in judged]
    sides = [_shared(payload), _recalls(judged), _precisions(judged)]
    rows = [
        ClassRow(k, None if names is None else names[k], [cell for side in parts for cell in side])
        for k, parts in enumerate(zip(*sides, strict=True))
    ]
    return ClassTable(names is not None, columns, rows)


def _shared(payload: Payload) -> Iterator[list[Cell]]:
    """Group, training rows and rows of every class."""
    classes = payload["classes"]
    rows = [count(n) for n in classes["rows"]]
    if classes["counts"] is None:
        yield from ([cell] for cell in rows)
        return
    groups = _groups(payload["shots"], classes["counts"])
    for group, trained, cell in zip(groups, classes["counts"], rows, strict=True):
        yield [group, count(trained), cell]


def _groups(shots: Mapping[str, Any], counts: list[int]) -> list[Cell]:
    """The shot group of every class, sorted by its size and not by its name."""
    masks = Shots(**shots).groups(np.asarray(counts))
    cells = [Cell(name, value=str(place)) for place, name in enumerate(reversed(GROUPS))]
    of_class = np.argmax([masks[name] for name in reversed(GROUPS)], axis=0)
    return [cells[place] for place in of_class]


def _recalls(heads: list[Payload]) -> Iterator[list[Cell]]:
    """Recall with Wilson's interval under every head, and where there are two their difference."""
    sides = [
        [figure(value, "percent", ends) for value, ends in zip(head["recall"], head["recall_interval"], strict=True)]
        for head in heads
    ]
    if len(heads) < 2:
        yield from ([cell] for cell in sides[0])
        return
    for before, after, low, high in zip(heads[0]["recall"], heads[1]["recall"], *sides, strict=True):
        missing = before is None or after is None
        yield [low, high, EMPTY if missing else difference(after - before, None, None, "percent")]


def _precisions(heads: list[Payload]) -> Iterator[list[Cell]]:
    columns = [[figure(value, "percent") for value in head["precision"]] for head in heads]
    yield from map(list, zip(*columns, strict=True))
