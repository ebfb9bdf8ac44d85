"""The tables of judged heads on a terminal, from what ``--json`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from ..output import Cell, clean, percent, table
from .columns import (
    ACCURACY,
    BALANCED,
    COMPARED,
    COST,
    COSTS,
    DASH,
    GOALS,
    GROUPS_CALIBRATED,
    MEANS,
    PROBABILITIES,
    TOP5,
    Column,
)

JOINT = "joint"
TUNED_ON_SEEN = "tuned on rows the backbone was trained on"

Payload = Mapping[str, Any]


def show(payload: Payload, *, full: bool = False) -> None:
    """Print the tables of judged heads, and below them what ± is, marks, failures and notes.

    payload: see `payload.payload_of`. full: every figure, and every class.
    """
    small = len(payload["classes"]["rows"]) <= 5
    goal = GOALS[payload["goal"]]
    shown = [column for column in ACCURACY if not (small and column == TOP5)]
    _table(payload, shown, goal if goal in shown else BALANCED)
    _table(payload, PROBABILITIES)
    if payload["costs"] is not None:
        _table(payload, COSTS, COST)
    if full:
        _table(payload, MEANS, mcnemar=True)
        _table(payload, GROUPS_CALIBRATED)
        _differences(payload)
        for key in ("recall", "precision"):
            _classes(payload, key)
    for line in _below(payload):
        click.echo(line)


def _table(
    payload: Payload, columns: Sequence[Column], compared: Column | None = None, *, mcnemar: bool = False
) -> None:
    """A row a head; compared: the figure whose difference to another head is a column too."""
    with_other, other = any(head["difference"] for head in payload["heads"]), clean(str(payload["against"]))
    titles = ["head", *(column.title for column in columns)]
    if with_other and compared:
        titles.append(f"{compared.title} vs {other}")
    if with_other and mcnemar:
        titles += ["only it right", f"only {other} right", "McNemar p"]
    rows: list[list[Cell]] = []
    for head in payload["heads"]:
        row: list[Cell] = [_name(head), *(column.cell(head) for column in columns)]
        if with_other and compared:
            row.append(compared.difference(head))
        if with_other and mcnemar:
            row += _mcnemar(head["mcnemar"])
        rows.append(row)
    table(titles, rows, caption=f"{_caption(payload)}\n")


def _differences(payload: Payload) -> None:
    heads = [head for head in payload["heads"] if head["difference"]]
    if heads:
        rows = [[_name(head), *(column.difference(head) for column in COMPARED)] for head in heads]
        titles = [f"difference to {clean(str(payload['against']))}", *(column.title for column in COMPARED)]
        table(titles, rows, caption=f"{_caption(payload)}\n")


def _classes(payload: Payload, key: str) -> None:
    """A row a class, in the order of their training rows; a column a head."""
    from rebalance import Shots

    classes, bounds = payload["classes"], payload["shots"]
    counts, names, rows = classes["counts"], classes["names"], classes["rows"]
    groups = {} if counts is None else Shots(bounds["few"], bounds["many"], closed=bounds["closed"]).groups(counts)
    lines: list[list[Cell]] = []
    for k in sorted(range(len(rows)), key=lambda k: -(rows if counts is None else counts)[k]):
        group = next((name for name, mask in groups.items() if mask[k]), DASH)
        cells = [str(k) if names is None else names[k], group, DASH if counts is None else str(counts[k]), str(rows[k])]
        lines.append([*cells, *(_of_class(head, key, k) for head in payload["heads"])])
    heads = [clean(head["name"]) for head in payload["heads"]]
    table([f"{key} of", "group", "training rows", "rows", *heads], lines, caption=f"{_caption(payload)}\n")


def _of_class(head: Mapping[str, Any], key: str, k: int) -> str:
    """A figure of one class; a recall with half of Wilson's interval."""
    low, high = head["recall_interval"][k] if key == "recall" else (None, None)
    return percent(head[key][k]) + ("" if low is None or high is None else f"±{percent((high - low) / 2)}")


def _mcnemar(test: Mapping[str, Any] | None) -> list[Cell]:
    if test is None:
        return [DASH, DASH, DASH]
    return [str(test["only_head"]), str(test["only_other"]), "<0.0001" if test["p"] < 1e-4 else f"{test['p']:.4f}"]


def _name(head: Mapping[str, Any]) -> str:
    return clean(head["name"]) + (" *" if head["marks"] else "")


def _caption(payload: Payload) -> str:
    """Which rows, which groups, which prior: it stands below every table."""
    rows = f"{sum(payload['classes']['rows'])} labelled rows"
    return f"{clean(payload['split'])}: {rows}; {payload['rule']}{_under(payload)}"


def _under(payload: Payload) -> str:
    """The target prior, where there is one."""
    prior = payload["target_prior"]
    return "" if prior is None else f"; classes weighted as {clean(prior)}"


def _below(payload: Payload) -> Iterator[str]:
    """What is said below the tables."""
    if payload["goal"] != BALANCED.key:
        yield f"best first by {GOALS[payload['goal']].title}{_under(payload)}"
    if payload["replicates"]:
        paired = "; differences are paired row by row" if any(h["difference"] for h in payload["heads"]) else ""
        draws = f"{payload['replicates']} draws of the rows within their classes"
        yield f"± is half of the 95 % interval, from {draws}{paired}"
    if payload["target_prior"] is not None and any(head["mcnemar"] for head in payload["heads"]):
        yield "McNemar's test counts the rows as they are, not as the prior weights them"
    for head in payload["heads"]:
        if head["marks"]:
            why = "its choice is doubtful" if head["marks"] == [TUNED_ON_SEEN] else "its figures are optimistic"
            yield f"* {clean(head['name'])}: {', '.join(map(clean, head['marks']))}; {why}"
    for failed in payload["failed"]:
        yield f"{clean(failed['name'])}: failed: {clean(failed['why'], 300)}"
    for text in payload["notes"]:
        yield f"note: {clean(text, 300)}"
    if payload["chosen"] is not None:
        value = (payload.get("validation") or {}).get(payload["chosen"])
        by = GOALS[payload.get("chosen_by", BALANCED.key)]
        said = "" if value is None else f" ({by.title} {by.text(value)}{' %' * (by != COST)})"
        yield f"chosen on {clean(str(payload['chosen_on']))}: {clean(payload['chosen'])}{said}"
