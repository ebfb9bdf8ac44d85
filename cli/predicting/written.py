"""The table of predictions: its columns, its rows as they come, its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .subject import Kind, Part, Subject, endings

if TYPE_CHECKING:
    from torch import Tensor

Cells = dict[str, list[Any]]
SHOWN = 5  # rows that could not be read whose reasons are kept


@dataclass
class Tally:
    """What was counted on the way: by split, its labelled rows and those of them that are right; and what is bad."""

    rows: int = 0
    unreadable: int = 0
    labelled: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def add(self, part: Part, prediction: Any) -> None:
        """Count some rows; prediction: (n,) class ids."""
        judged = part.readable & (part.labels >= 0)
        self.rows += len(part.ids)
        self.unreadable += int((~part.readable).sum())
        self.labelled[part.split] = self.labelled.get(part.split, 0) + int(judged.sum())
        self.right[part.split] = self.right.get(part.split, 0) + int((judged & (prediction == part.labels)).sum())
        self.reasons += part.reasons[: SHOWN - len(self.reasons)]

    def accuracy(self) -> dict[str, float | None]:
        """The share of the labelled rows that are right, by split; None where there is none."""
        return {name: self.right[name] / rows if rows else None for name, rows in self.labelled.items()}


def blocks(
    subject: Subject, k: int, offsets: Tensor | None, tally: Tally, update: Callable[[int, int, str], None]
) -> Iterator[Cells]:
    """The cells of some rows after the other, by column; a cell that says nothing is None.

    k: classes a row. offsets: (K,), added to the logits, or None. tally: is added to. update: told of the progress.
    """
    from rebalance.prediction import ranked

    columns = subject.columns(k)
    for part in subject.parts:
        top = ranked(part.logits, k, offsets=offsets)
        classes, probabilities = top.classes.cpu().numpy(), top.probabilities.cpu().numpy()
        tally.add(part, classes[:, 0])
        cells = _cells(part, classes, probabilities, subject)
        yield {name: cells[name] for name in columns}
        update(tally.rows, subject.rows, part.split)


def _cells(part: Part, classes: Any, probabilities: Any, subject: Subject) -> Cells:
    readable = part.readable.tolist()

    def shown(values: list[Any]) -> list[Any]:
        return [value if there else None for value, there in zip(values, readable, strict=True)]

    cells: Cells = {"split": [part.split] * len(readable), "id": list(part.ids)}
    cells["label"] = [label if label >= 0 else None for label in part.labels.tolist()]
    for place, end in enumerate(endings(classes.shape[1])):
        ids = classes[:, place].tolist()
        cells[f"prediction{end}"] = shown(ids)
        if (names := subject.class_names) is not None:
            cells[f"name{end}"] = shown([names[each] for each in ids])
        cells[f"probability{end}"] = shown(probabilities[:, place].tolist())
    return cells


def write(path: Path, columns: Mapping[str, Kind], parts: Iterator[Cells]) -> None:
    """Write the table as its ending says, under a temporary name that is renamed when it is whole."""
    if path.suffix.lower() == ".parquet":
        from featurecache.convert.parquet.streamed import write_table

        write_table(path, columns, parts)
        return
    from rebalance.report.csv_file import write_csv

    write_csv(path, list(columns), (row for cells in parts for row in zip(*cells.values(), strict=True)))
