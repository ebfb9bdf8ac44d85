"""Which head the page is about, and what it gains and costs next to the joint one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rebalance.report.page.cells import Cell, Unit, difference, figure

Payload = Mapping[str, Any]
SUMMARY: tuple[tuple[str, str, Unit], ...] = (
    ("balanced", "balanced", "percent"),
    ("top1", "top-1", "percent"),
    ("many", "many", "percent"),
    ("medium", "medium", "percent"),
    ("few", "few", "percent"),
    ("cost", "cost a row", "cost"),
)


@dataclass(frozen=True)
class Change:
    """One figure before and after. title: of the figure. before: None without a head to compare with.

    unit: that stands behind the figure. direction: "up" (better) or "down" where the interval of the difference leaves
    zero out, "open" where it does not or there is none, "same" where the figures are equal.
    """

    title: str
    before: Cell | None
    after: Cell
    difference: Cell | None
    unit: str
    direction: Literal["up", "down", "open", "same"]


@dataclass(frozen=True)
class Verdict:
    """The head the page is about.

    head: its name. chosen_on: the split it was chosen on, None where nobody chose. changes: by figure, those that
    are defined, the goal first. marks: what makes its figures optimistic. heads: how many were judged. goal: the figure
    they are ranked by. against: the head that the others are compared with, None where it was not judged.
    """

    head: str
    chosen_on: str | None
    changes: dict[str, Change]
    marks: list[str]
    heads: int
    goal: str
    against: str | None

    @property
    def is_reference(self) -> bool:
        """Whether it is the very head that the others are compared with."""
        return self.head == self.against


def find(payload: Payload, name: str | None) -> Payload | None:
    """The judged head of that name, or None."""
    return next((head for head in payload["heads"] if head["name"] == name), None)


def verdict(payload: Payload) -> Verdict:
    """The chosen head against the one it is compared with; where none was chosen, the best of the heads."""
    other = find(payload, payload["against"])
    chosen = find(payload, payload.get("chosen"))
    head = chosen or payload["heads"][0]
    changes = {
        key: _change(key, title, unit, other if other is not head else None, head)
        for key, title, unit in sorted(SUMMARY, key=lambda figure: figure[0] != payload["goal"])
        if head.get(key) is not None
    }
    return Verdict(
        head["name"],
        payload.get("chosen_on") if chosen else None,
        changes,
        head["marks"],
        len(payload["heads"]),
        payload["goal"],
        payload["against"],
    )


def _change(key: str, title: str, unit: Unit, other: Payload | None, head: Payload) -> Change:
    after, behind = figure(head[key], unit, head["intervals"].get(key)), "\u00a0%" if unit == "percent" else ""
    found = (head["difference"] or {}).get(key)
    if other is None or other.get(key) is None or found is None or found["value"] is None:
        return Change(title, None, after, None, behind, "open")
    delta = difference(found["value"], found["low"], found["high"], unit, "low" if unit == "cost" else "high")
    directions: dict[str, Literal["up", "down", "open"]] = {"gain": "up", "loss": "down", "": "open"}
    return Change(
        title,
        figure(other[key], unit),
        after,
        delta,
        behind,
        "same" if found["value"] == 0 else directions[delta.tone],
    )
