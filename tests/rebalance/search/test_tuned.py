"""What tuning found: its attributes, its notes and its record."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rebalance import LinearHead
from rebalance.search.judging import Judge
from rebalance.search.path import StepCurve
from rebalance.search.tuned import Tuned, notes_on, tuning_record

FOUND = Tuned(
    LinearHead(torch.eye(2)),
    {"tau": 0.5},
    value=0.75,
    highest=0.8,
    before=None,
    curve=StepCurve(np.array([1.0]), np.array([0.8, 0.75])),
    intervals=[(-math.inf, 1.0)],
    interval=(-math.inf, 1.0),
    exact=True,
)


def judge(labels: list[int], **options: Any) -> Judge:
    given = {"features": np.zeros((len(labels), 2)), "labels": torch.tensor(labels), "metric": "top1", "select": "1se"}
    return Judge(**{**given, "seed": 3, **options})


def test_hyperparameters_are_attributes() -> None:
    assert FOUND.tau == 0.5
    assert not hasattr(FOUND, "weight_decay")
    with pytest.raises(AttributeError, match=r"no 'taus' here; the tuned hyperparameters are tau"):
        _ = FOUND.taus
    for twin in (copy.deepcopy(FOUND), pickle.loads(pickle.dumps(FOUND))):
        assert twin.tau == 0.5


def test_the_record_is_plain_json_without_infinity() -> None:
    record = tuning_record(FOUND, judge([0, 1, -1]))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record == {
        "parameters": {"tau": 0.5},
        "metric": "top1",
        "value": 0.75,
        "select": "1se",
        "search": "exact",
        "rows": 2,
        "interval": [None, 1.0],
    }


def test_the_record_of_a_grid_with_folds() -> None:
    found = replace(FOUND, exact=False, interval=None, intervals=[], notes=("said",))
    record = tuning_record(found, judge([0, 1, 0], fold=np.array([0, 1, 2])))
    assert (record["search"], record["folds"], record["seed"], record["notes"]) == ("grid", 3, 3, ["said"])
    assert "interval" not in record
    assert tuning_record(FOUND, judge([0, 1], select="1se-bootstrap"))["seed"] == 3


def test_notes_are_about_classes_with_a_single_row() -> None:
    assert notes_on(judge([0, 0, 1, -1])) == ()
    (note,) = notes_on(judge([0, 0, 1, -1], select="1se-bootstrap"))
    assert note == "1 of 2 classes have a single judging row, which the bootstrap takes as certain"
    (note,) = notes_on(judge([0, 0, 1], fold=np.array([0, 1, 0])))
    assert note == "1 of 2 classes have a single row, judged by a head that never saw the class"
    assert len(notes_on(judge([0, 0, 1], select="1se-bootstrap", fold=np.array([0, 1, 0])))) == 2
    assert notes_on(judge([0, 0, 1, 1], select="1se-bootstrap")) == ()
