"""What each head says of every row, as a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from featurecache import Split
    from rebalance import Report

PART = 2**14  # rows that are turned into text at a time


def write_predictions(path: Path, rows: Split, reports: Mapping[str, Report]) -> None:
    """Write a row a row of the split: id, label, and of every head its prediction, confidence and whether it is right.

    path: .csv or .parquet; it appears when it is whole. rows: the split. reports: of the heads on it, by name, in the
    order of the columns; where there are costs also the decision of least expected cost. Classes are ids; a row without
    a label has an empty label, and nothing is right or wrong.
    """
    columns = _columns(rows, reports)
    if path.suffix.lower() == ".parquet":
        _write_parquet(path, columns, rows.labels >= 0)
        return
    from rebalance.report.csv_file import write_csv

    write_csv(path, list(columns), _lines(columns, rows.labels >= 0))


def _columns(rows: Split, reports: Mapping[str, Report]) -> dict[str, NDArray[Any]]:
    """Every column (N,) by name."""
    columns: dict[str, NDArray[Any]] = {"id": rows.sample_id, "label": rows.labels}
    for name, report in reports.items():
        columns[f"prediction_{name}"] = report.results.every_prediction
        columns[f"confidence_{name}"] = report.results.every_confidence
        columns[f"correct_{name}"] = report.results.every_prediction == rows.labels
        if report.results.every_minimum_risk is not None:
            columns[f"minimum_risk_{name}"] = report.results.every_minimum_risk
    return columns


def _needs_label(column: str) -> bool:
    return column == "label" or column.startswith("correct_")


def _lines(columns: Mapping[str, NDArray[Any]], labelled: NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows, of which only a part is Python objects at a time."""
    for start in range(0, len(labelled), PART):
        part = slice(start, start + PART)
        known = labelled[part].tolist()
        cells = []
        for name, column in columns.items():
            values = column[part].tolist()
            if _needs_label(name):
                values = [value if there else None for value, there in zip(values, known, strict=True)]
            cells.append(values)
        yield from zip(*cells, strict=True)


def _write_parquet(path: Path, columns: Mapping[str, NDArray[Any]], labelled: NDArray[Any]) -> None:
    """The columns as a Parquet file, with nulls where a row has no label."""
    import pandas as pd

    from featurecache.disk import replacing

    def series(name: str, column: NDArray[Any]) -> Any:
        if not _needs_label(name):
            return column
        kind = "boolean" if column.dtype == bool else "Int64"
        return pd.Series(column).astype(kind).where(labelled)

    frame = pd.DataFrame({name: series(name, column) for name, column in columns.items()})
    with replacing(path, f".{os.getpid()}") as part:
        frame.to_parquet(part, engine="pyarrow", index=False)
