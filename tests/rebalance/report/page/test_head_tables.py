"""Which tables and columns the heads get, and what stands in them."""

from __future__ import annotations

from typing import Any

from rebalance.metrics import FIGURES
from rebalance.report.page.cells import Cell
from rebalance.report.page.head_tables import DIFFERENCES, Table, head_tables


def tables(payload: dict[str, Any]) -> dict[str, Table]:
    return {table.name: table for table in head_tables(payload)}


def cell(table: Table, head: str, key: str) -> Cell:
    [row] = [row for row in table.rows if row.name == head]
    return row.cells[[column.key for column in table.columns].index(key)]


def test_every_figure_is_in_a_table(payload: dict[str, Any]) -> None:
    for head in payload["heads"]:
        head |= {"cost": 1.5, "minimum_risk_cost": 1.25}
    shown = {column.key for table in head_tables(payload) for column in table.columns}
    assert set(FIGURES) <= shown
    assert {"difference", "only_head", "only_other", "p", "validation"} <= shown


def test_every_head_has_a_row_with_as_many_cells_as_columns(payload: dict[str, Any]) -> None:
    names = [head["name"] for head in payload["heads"]]
    for name, table in tables(payload).items():
        assert [row.name for row in table.rows] == [n for n in names if name != "differences" or n != "joint"]
        assert {len(row.cells) for row in table.rows} == {len(table.columns)}
        assert sum(span for _, span in table.groups) in (0, len(table.columns))


def test_figures_intervals_and_differences_are_those_of_the_payload(payload: dict[str, Any]) -> None:
    head = next(head for head in payload["heads"] if head["name"] == "crt")
    found = tables(payload)
    many = cell(found["accuracy"], "crt", "many")
    low, high = head["intervals"]["many"]
    assert (many.text, many.small) == (f"{100 * head['many']:.1f}", f"{100 * low:.1f}–{100 * high:.1f}")
    assert cell(found["accuracy"], "crt", "difference") == cell(found["differences"], "crt", "balanced")
    assert cell(found["accuracy"], "joint", "difference").text == "–"
    assert cell(found["accuracy"], "crt", "validation").text == f"{100 * payload['validation']['crt']:.1f}"
    assert cell(found["means"], "crt", "only_head").text == str(head["mcnemar"]["only_head"])


def test_less_is_better_of_losses(payload: dict[str, Any]) -> None:
    head = payload["heads"][0]
    head["difference"]["nll"] = {"value": -0.3, "low": -0.4, "high": -0.2}
    head["difference"]["ece"] = {"value": 0.3, "low": 0.2, "high": 0.4}
    table = tables(payload)["differences"]
    assert (cell(table, head["name"], "nll").tone, cell(table, head["name"], "ece").tone) == ("gain", "loss")
    assert {c.key: c.first for c in DIFFERENCES if c.first == "ascending"}.keys() == {"nll", "brier", "ece", "cost"}


def test_columns_and_tables_of_dashes_only_are_left_out(payload: dict[str, Any]) -> None:
    for head in payload["heads"]:
        head |= {"top5": None, "few": None, "difference": None, "mcnemar": None}
    del payload["validation"]
    found = tables(payload)
    assert "differences" not in found
    assert {"top5", "few", "difference", "validation"}.isdisjoint(c.key for c in found["accuracy"].columns)
    assert {"p", "only_head", "cost"}.isdisjoint(c.key for c in found["means"].columns)


def test_what_heads_were_chosen_by_has_its_name(payload: dict[str, Any]) -> None:
    assert tables(payload)["accuracy"].columns[-1].title == "balanced on val"
    payload["chosen_by"] = payload["goal"] = "top1"
    found = tables(payload)["accuracy"]
    assert found.columns[-1].title == "top-1 on val"
    assert (found.columns[0].key, found.sorted_by) == ("top1", "top1")
    assert [column.key for column in found.columns].count("top1") == 1
    payload["chosen_by"] = payload["goal"] = "cost"
    assert tables(payload)["accuracy"].columns[-1].unit == "cost"


def test_the_goal_comes_first_and_costs_rise(payload: dict[str, Any]) -> None:
    for head in payload["heads"]:
        head["cost"] = 0.25
        if head["difference"]:
            head["difference"]["cost"] = {"value": -0.5, "low": -0.6, "high": -0.4}
    found = tables(payload | {"goal": "cost", "chosen_by": "cost"})
    assert found["accuracy"].title == "Cost and accuracy"
    assert cell(found["accuracy"], "crt", "difference").tone == "gain"
    for table in (found["accuracy"], found["differences"]):
        assert (table.columns[0].key, table.columns[0].first, table.sorted_by) == ("cost", "ascending", "cost")


def test_heads_are_compared_with_the_one_that_is_named(payload: dict[str, Any]) -> None:
    found = tables(payload | {"against": "mine"})
    assert found["accuracy"].columns[1].title == "against mine"
    assert found["differences"].title == "Difference to mine"
    assert found["means"].title.endswith("against mine")
    assert [column.title for column in found["means"].columns[-3:]] == ["this head", "mine", "p"]


def test_test_says_that_it_counts_rows_where_the_rest_is_weighted(payload: dict[str, Any]) -> None:
    assert "not weighted" not in tables(payload)["means"].columns[-1].group
    assert "not weighted" in tables(payload | {"target_prior": "uniform"})["means"].columns[-1].group


def test_marks_and_the_choice_are_on_the_rows(payload: dict[str, Any]) -> None:
    for table in head_tables(payload):
        assert [row.name for row in table.rows if row.star] == ["lws"]
        assert [(row.name, row.chosen) for row in table.rows if row.chosen is not None] == [
            ("crt + temperature", "val")
        ]
    assert not any(row.chosen for table in head_tables(payload | {"chosen": None}) for row in table.rows)
