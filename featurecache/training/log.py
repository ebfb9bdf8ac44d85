"""The log of a training run: a line an epoch, as CSV for spreadsheets and as JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featurecache.disk import write_bytes

COLUMNS = ("epoch", "lr", "loss", "score", "seconds", "rows_per_second")


class TrainLog:
    """Two files with a line for every epoch: PATH.csv and PATH.jsonl.

    They are written anew with what is already known, so that no epoch of a run that goes on is there twice, and then
    grow by a line an epoch, which is in the file when `add` returns.

    path: of both files, without the ending. history: lines of the epochs so far, mappings with COLUMNS.
    """

    def __init__(self, path: Path, history: Sequence[Mapping[str, Any]]) -> None:
        self._files = {ending: path.with_name(path.name + ending) for ending in (".csv", ".jsonl")}
        write_bytes(self._files[".csv"], (_csv(COLUMNS) + "".join(map(_row, history))).encode())
        write_bytes(self._files[".jsonl"], "".join(map(_json, history)).encode())

    def add(self, line: Mapping[str, Any]) -> None:
        """One epoch more. line: with COLUMNS."""
        for ending, text in ((".csv", _row(line)), (".jsonl", _json(line))):
            with self._files[ending].open("a", encoding="utf-8", newline="") as file:
                file.write(text)


def _row(line: Mapping[str, Any]) -> str:
    return _csv(["" if line[name] is None else line[name] for name in COLUMNS])


def _csv(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _json(line: Mapping[str, Any]) -> str:
    return json.dumps({name: line[name] for name in COLUMNS}, allow_nan=False) + "\n"
