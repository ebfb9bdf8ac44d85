"""The row a class: who it is, how many rows it has, how it fares before and after."""

from __future__ import annotations

from typing import Any

from rebalance.report.page.cells import EMPTY
from rebalance.report.page.class_table import class_table


def test_columns(payload: dict[str, Any]) -> None:
    table = class_table(payload, "crt")
    assert table.columns == [
        ("group", ""),
        ("training rows", ""),
        ("test rows", ""),
        ("joint", "recall"),
        ("crt", "recall"),
        ("difference", "recall"),
        ("joint", "precision"),
        ("crt", "precision"),
    ]
    assert table.groups == [("", 3), ("recall", 3), ("precision", 2)]
    assert {len(row.cells) for row in table.rows} == {len(table.columns)}


def test_a_class_has_its_own_figures(payload: dict[str, Any]) -> None:
    joint, crt = (next(head for head in payload["heads"] if head["name"] == name) for name in ("joint", "crt"))
    for row in class_table(payload, "crt").rows:
        k = row.number
        assert row.name == payload["classes"]["names"][k]
        group, trained, rows, before, after, difference, *_ = row.cells
        count = payload["classes"]["counts"][k]
        assert group.text == ("many" if count > 100 else "few" if count < 20 else "medium")
        assert (trained.text, rows.text) == (str(count), str(payload["classes"]["rows"][k]))
        if joint["recall"][k] is None:
            assert before == after == difference == EMPTY
        else:
            low, high = joint["recall_interval"][k]
            assert before.small == f"{100 * low:.1f}–{100 * high:.1f}"
            assert after.text == f"{100 * crt['recall'][k]:.1f}"
            assert float(difference.value or "nan") == round(crt["recall"][k] - joint["recall"][k], 9)


def test_a_class_without_rows_and_one_never_predicted_are_dashes(payload: dict[str, Any]) -> None:
    rows = class_table(payload, "crt").rows
    empty = payload["classes"]["rows"].index(0)
    assert [cell == EMPTY for cell in rows[empty].cells[3:6]] == [True] * 3
    joint = next(head for head in payload["heads"] if head["name"] == "joint")
    never = joint["class_predictions"].index(0)
    assert rows[never].cells[6] == EMPTY


def test_groups_sort_by_size_and_follow_the_closed_convention(payload: dict[str, Any]) -> None:
    payload["classes"]["counts"][:3] = [101, 100, 20]
    payload["shots"] |= {"closed": True}
    groups = [row.cells[0] for row in class_table(payload, "crt").rows[:3]]
    assert [group.text for group in groups] == ["many", "medium", "few"]
    assert [group.value for group in groups] == ["2", "1", "0"]


def test_one_head_alone_without_counts_and_names(payload: dict[str, Any]) -> None:
    payload["classes"] |= {"names": None, "counts": None}
    table = class_table(payload, "joint")
    assert not table.named
    assert table.columns == [("test rows", ""), ("joint", "recall"), ("joint", "precision")]
    assert {row.name for row in table.rows} == {None}
    payload["heads"] = [head for head in payload["heads"] if head["name"] != "joint"]
    assert class_table(payload, "crt").columns[-1] == ("crt", "precision")
