"""The report: its figures by name, plain JSON, text, and two of them compared."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from rebalance import Report, evaluate
from rebalance.metrics import FIGURES


def test_without_counts_there_are_no_groups_and_without_costs_no_cost() -> None:
    report = evaluate(torch.eye(3), [0, 1, 2])
    assert [name for name, value in report.figures().items() if value is None] == [
        *("top5", "many", "medium", "few"),
        *(
            f"{kind}_{group}"
            for kind in ("ece", "ece_equal_mass", "ece_classwise")
            for group in ("many", "medium", "few")
        ),
        *("cost", "minimum_risk_cost"),
    ]
    assert report.groups == {}


def test_the_report_is_plain_json_in_the_order_of_the_figures() -> None:
    report = evaluate(torch.eye(3)[:2], [0, 1], [200, 30, 1], replicates=3)
    parsed = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(report.figures()) == list(FIGURES)
    assert list(parsed)[: len(FIGURES)] == list(FIGURES)
    assert {
        "rows",
        "rule",
        "notes",
        "recall",
        "precision",
        "f1",
        "class_rows",
        "class_predictions",
        "intervals",
    } <= set(parsed)
    assert parsed["few"] is None
    assert parsed["recall"] == parsed["precision"] == parsed["f1"] == [1.0, 1.0, None]
    assert parsed["recall_interval"][2] == [None, None]
    assert (parsed["class_rows"], parsed["class_predictions"]) == ([1, 1, 0], [1, 1, 0])
    assert parsed["intervals"]["top1"] == [1.0, 1.0]
    assert set(parsed["intervals"]) == {name for name, value in report.figures().items() if value is not None}
    assert all(value is None or type(value) is float for value in report.figures().values())


def test_the_report_prints_its_main_figures_and_the_rule() -> None:
    text = str(evaluate(torch.eye(3)[:2], [0, 1], [200, 30, 1]))
    names, values, rule = text.splitlines()
    assert names.split()[:5] == ["top1", "balanced", "many", "medium", "few"]
    assert set(names.split()) <= set(FIGURES)
    assert values.split()[:5] == ["1.000", "1.000", "1.000", "1.000", "-"]
    assert rule == "2 rows; many > 100, medium 20..100, few < 20 training rows"


def test_the_report_prints_half_of_every_interval(case: Any) -> None:
    made = case((40, 4, 1))
    report = evaluate(made.logits, made.labels, made.counts, replicates=50)
    low, high = report.intervals["top1"]
    assert str(report).splitlines()[2].split()[0] == f"±{(high - low) / 2:.3f}"


def test_a_report_is_frozen_and_knows_its_figures_only() -> None:
    report = evaluate(torch.eye(2), [0, 1])
    assert isinstance(report, Report)
    assert "top1=1" in repr(report)
    with pytest.raises(AttributeError):
        report.top1 = 0.5
    with pytest.raises(AttributeError, match="macro_recall"):
        _ = report.macro_recall


@pytest.mark.parametrize("changed", [{"costs": 9 * (1 - np.eye(3))}, {"counts": [5, 50, 500]}])
def test_reports_under_other_criteria_are_not_compared(changed: Any, refuses: Any) -> None:
    asked: dict[str, Any] = {"costs": 1 - np.eye(3), "counts": [500, 50, 5]}
    one, other = evaluate(torch.eye(3), [0, 1, 2], **asked), evaluate(torch.eye(3), [0, 1, 2], **{**asked, **changed})
    with refuses("costs, shot groups"):
        one.difference(other)
    assert one.difference(evaluate(torch.eye(3), [0, 1, 2], **asked))["cost"].value == 0


@pytest.mark.parametrize(
    "changed",
    ["labels", "rows", "fewer rows", "prior", "no prior", "seed", "fewer replicates", "no replicates"],
)
def test_reports_of_other_rows_are_not_compared(case: Any, changed: str, refuses: Any) -> None:
    made = case((30, 4, 7))
    labels, given_ = made.labels, {"target_prior": made.prior, "replicates": 10, "seed": 2}
    report = evaluate(made.logits, labels, made.counts, **given_)
    if changed == "labels":
        # Without a prior every row weighs the same, and only the labels themselves tell.
        given_["target_prior"] = None
        report = evaluate(made.logits, labels, made.counts, **given_)
        labels = np.roll(labels, 1)
    elif changed == "rows":
        labels = np.where(np.arange(30) == 4, -1, labels)
    elif changed == "fewer rows":
        made = type(made)(made.logits[:29], labels[:29], made.counts, made.prior, made.costs)
        labels = made.labels
    else:
        given_ |= {
            "prior": {"target_prior": made.prior * [2, 1, 1, 1]},
            "no prior": {"target_prior": None},
            "seed": {"seed": 3},
            "fewer replicates": {"replicates": 9},
            "no replicates": {"replicates": 0},
        }[changed]
    other = evaluate(made.logits, labels, made.counts, **given_)
    for first, second in ((report, other), (other, report)):
        with refuses("rows or labels.*target prior"):
            first.difference(second)
        with refuses("rows or labels.*target prior"):
            first.mcnemar(second)
