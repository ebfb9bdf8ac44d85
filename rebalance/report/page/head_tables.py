"""The tables of the page that have a row a head: accuracy, differences to one, probabilities, other means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rebalance.report.page.cells import EMPTY, Cell, Unit, count, difference, figure, probability, spanned

Payload = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column: its title, its figure's key and unit, which direction is good, and the group of columns it is in."""

    title: str
    key: str
    unit: Unit = "percent"
    better: Literal["high", "low"] = "high"
    group: str = ""

    @property
    def first(self) -> str:
        """The order that the first click brings: the best on top."""
        return "ascending" if self.better == "low" else "descending"


@dataclass(frozen=True)
class Row:
    """A head's row. chosen: on which split it was chosen, or None. star: it has a footnote."""

    name: str
    cells: list[Cell]
    star: bool = False
    chosen: str | None = None


@dataclass(frozen=True)
class Table:
    """A table. name: its id on the page. sorted_by: the key it comes sorted by, or ""."""

    name: str
    title: str
    columns: list[Column]
    rows: list[Row]
    sorted_by: str = ""

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The titles above the columns with the number of columns each spans; [] where there are none."""
        return spanned([column.group for column in self.columns])


BALANCED = Column("balanced", "balanced")
ACCURACY = (
    Column("top-1", "top1"),
    Column("top-5", "top5"),
    Column("many", "many"),
    Column("medium", "medium"),
    Column("few", "few"),
    Column("worst class", "worst"),
    Column("macro F1", "macro_f1"),
)
DIFFERENCES = (
    BALANCED,
    *ACCURACY,
    Column("NLL", "nll", "number", "low"),
    Column("Brier", "brier", "number", "low"),
    Column("ECE", "ece", better="low"),
    Column("cost", "cost", "cost", "low"),
)
KINDS = (("ece", "ECE, equal width"), ("ece_equal_mass", "ECE, equal mass"), ("ece_classwise", "ECE, class-wise"))
PROBABILITIES = (
    Column("NLL", "nll", "number", "low"),
    Column("Brier", "brier", "number", "low"),
    *(
        Column(group or "all", f"{key}_{group}" if group else key, better="low", group=title)
        for key, title in KINDS
        for group in ("", "many", "medium", "few")
    ),
)
MEANS = (
    Column("harmonic", "harmonic", group="mean of recalls"),
    Column("geometric", "geometric", group="mean of recalls"),
    Column("macro", "macro_f1", group="F1"),
    Column("weighted", "weighted_f1", group="F1"),
    Column("macro", "macro_precision", group="precision"),
    Column("of decisions", "cost", "cost", "low", group="cost"),
    Column("minimum-risk", "minimum_risk_cost", "cost", "low", group="cost"),
)
GOALS = {
    column.key: column for column in (BALANCED, Column("top-1", "top1"), Column("cost a row", "cost", "cost", "low"))
}


def head_tables(payload: Payload) -> list[Table]:
    """The tables, without those and without the columns that would hold dashes only; accuracy is always there."""
    tables = [_accuracy(payload), _differences(payload), _probabilities(payload), _means(payload)]
    return [table for table in tables if table.columns and table.rows]


def _accuracy(payload: Payload) -> Table:
    heads, goal = payload["heads"], GOALS[payload["goal"]]
    columns, makers = [goal], [_figures(goal)]
    if any(head["difference"] for head in heads):
        columns.append(Column(f"against {payload['against']}", "difference", goal.unit, goal.better))
        makers.append(_differs(goal))
    for column in (each for each in _defined((BALANCED, *ACCURACY), heads) if each != goal):
        columns.append(column)
        makers.append(_figures(column))
    if (validation := payload.get("validation")) and payload["chosen_on"] is not None:
        by = GOALS[payload["chosen_by"]]
        columns.append(Column(f"{by.title} on {payload['chosen_on']}", "validation", by.unit, by.better))
        makers.append(lambda head: figure(validation.get(head["name"]), by.unit))
    title = "Cost and accuracy" if goal.key == "cost" else "Accuracy"
    return Table("accuracy", title, columns, _rows(payload, makers), goal.key)


def _differences(payload: Payload) -> Table:
    others = [head for head in payload["heads"] if head["difference"]]
    columns = [
        column
        for column in sorted(DIFFERENCES, key=lambda column: column.key != payload["goal"])
        if any((head["difference"].get(column.key) or {}).get("value") is not None for head in others)
    ]
    rows = _rows({**payload, "heads": others}, [_differs(column) for column in columns])
    return Table("differences", f"Difference to {payload['against']}", columns, rows, payload["goal"])


def _probabilities(payload: Payload) -> Table:
    columns = _defined(PROBABILITIES, payload["heads"])
    return Table("probabilities", "Probabilities", columns, _rows(payload, [_figures(column) for column in columns]))


def _means(payload: Payload) -> Table:
    columns = _defined(MEANS, payload["heads"])
    makers, title = [_figures(column) for column in columns], "Other means"
    if any(head["mcnemar"] for head in payload["heads"]):
        title = f"Other means, and the test against {payload['against']}"
        tested = _tested(payload)
        columns += tested
        makers += [_mcnemar(column.key) for column in tested]
    return Table("means", title, columns, _rows(payload, makers))


def _tested(payload: Payload) -> list[Column]:
    """McNemar's test counts rows one by one, whatever prior the figures beside it are weighted to."""
    weighted = payload["target_prior"] is not None
    group = "rows right alone, not weighted (McNemar)" if weighted else "rows right alone (McNemar)"
    return [
        Column("this head", "only_head", "count", group=group),
        Column(payload["against"], "only_other", "count", "low", group=group),
        Column("p", "p", "number", "low", group=group),
    ]


def _defined(columns: Sequence[Column], heads: Sequence[Payload]) -> list[Column]:
    return [column for column in columns if any(head.get(column.key) is not None for head in heads)]


def _rows(payload: Payload, makers: Sequence[Callable[[Payload], Cell]]) -> list[Row]:
    return [
        Row(
            head["name"],
            [make(head) for make in makers],
            bool(head["marks"]),
            (payload.get("chosen_on") or "") if head["name"] == payload.get("chosen") else None,
        )
        for head in payload["heads"]
    ]


def _figures(column: Column) -> Callable[[Payload], Cell]:
    return lambda head: figure(head.get(column.key), column.unit, head["intervals"].get(column.key))


def _differs(column: Column) -> Callable[[Payload], Cell]:
    def cell(head: Payload) -> Cell:
        found = (head["difference"] or {}).get(column.key)
        if found is None:
            return EMPTY
        return difference(found["value"], found["low"], found["high"], column.unit, column.better)

    return cell


def _mcnemar(key: str) -> Callable[[Payload], Cell]:
    def cell(head: Payload) -> Cell:
        found = head["mcnemar"]
        if found is None:
            return EMPTY
        return probability(found["p"]) if key == "p" else count(found[key])

    return cell
