"""The cells of predictions, what is counted on the way, and the file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rebalance_cli.predicting.subject import Part, Subject
from rebalance_cli.predicting.written import SHOWN, Cells, Tally, blocks, write

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 3.0]])


def parts() -> Iterator[Part]:
    """Four rows in two parts: right, wrong, not to be read, without a label."""
    labels, readable = np.array([0, 0, -1, -1]), np.array([True, True, False, True])
    for split, some in (("val", slice(0, 2)), ("test", slice(2, 4))):
        lost = tuple("it is torn" for _ in range(int((~readable[some]).sum())))
        yield Part(split, ["a", "b", "c", "d"][some], labels[some], readable[some], LOGITS[some], lost)


def subject() -> Subject:
    """Of two named classes."""
    return Subject(parts(), 4, 2, ("x", "y"), ("val", "test"), True, None, None, "")


def test_cells_and_counts() -> None:
    tally, told = Tally(), list[tuple[int, int, str]]()
    first, second = blocks(subject(), 2, None, tally, lambda *each: told.append(each))
    likely = math.e**2 / (math.e**2 + 1)
    assert (first["split"], first["id"], first["label"]) == (["val"] * 2, ["a", "b"], [0, 0])
    assert (first["prediction_1"], first["name_1"]) == ([0, 1], ["x", "y"])
    assert first["probability_1"][0] == pytest.approx(likely)
    assert first["probability_2"][0] == pytest.approx(1 - likely)
    assert (second["label"], second["prediction_1"], second["name_2"]) == ([None] * 2, [None, 1], [None, "x"])
    assert second["probability_1"][0] is None
    assert (tally.rows, tally.unreadable, tally.reasons) == (4, 1, ["it is torn"])
    assert tally.accuracy() == {"val": 0.5, "test": None}
    assert told == [(2, 4, "val"), (4, 4, "test")]


def test_the_decision_is_that_of_the_offsets() -> None:
    tally = Tally()
    (first, _) = blocks(subject(), 1, torch.tensor([-math.inf, 0.0]), tally, lambda *each: None)
    assert (first["prediction"], first["probability"]) == ([1, 1], [1.0, 1.0])
    assert tally.accuracy()["val"] == 0


def test_a_few_reasons_are_kept() -> None:
    tally = Tally()
    torn = Part("", ["a"] * 4, np.full(4, -1), np.zeros(4, bool), torch.zeros(4, 2), ("torn",) * 4)
    for _ in range(3):
        tally.add(torn, np.zeros(4, np.int64))
    assert (tally.unreadable, len(tally.reasons)) == (12, SHOWN)


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    there: list[bool] = []

    def made() -> Iterator[Cells]:
        for name in ("a", "b"):
            yield {"id": [name], "probability": [None]}
            there.append((tmp_path / "p.csv").exists())

    write(tmp_path / "p.csv", {"id": "text", "probability": "number"}, made())
    assert there == [False, False]
    assert (tmp_path / "p.csv").read_text() == "id,probability\na,\nb,\n"
