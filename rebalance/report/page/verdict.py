"""Which head the page is about, and what it gains and costs next to the joint one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rebalance.report.page.cells import Cell, difference, figure

Payload = Mapping[str, Any]
JOINT = "joint"
SUMMARY = (("balanced", "balanced"), ("top1", "top-1"), ("many", "many"), ("medium", "medium"), ("few", "few"))


@dataclass(frozen=True)
class Change:
    """One figure before and after. title: of the figure. before: None without a joint head to compare with.

    direction: "up" or "down" where the interval of the difference leaves zero out, "open" where it does not or there is
    none, "same" where the figures are equal.
    """

    title: str
    before: Cell | None
    after: Cell
    difference: Cell | None
    direction: Literal["up", "down", "open", "same"]


@dataclass(frozen=True)
class Verdict:
    """The head the page is about.

    head: its name. chosen_on: the split it was chosen on, None where nobody chose. changes: by figure, those that
    are defined. marks: what makes its figures optimistic. heads: how many were judged.
    """

    head: str
    chosen_on: str | None
    changes: dict[str, Change]
    marks: list[str]
    heads: int

    @property
    def is_joint(self) -> bool:
        return self.head == JOINT


def find(payload: Payload, name: str | None) -> Payload | None:
    """The judged head of that name, or None."""
    return next((head for head in payload["heads"] if head["name"] == name), None)


def verdict(payload: Payload) -> Verdict:
    """The chosen head against the joint one; where none was chosen, the head of the best balanced accuracy."""
    joint = find(payload, JOINT)
    chosen = find(payload, payload.get("chosen"))
    head = chosen or payload["heads"][0]
    changes = {
        key: _change(key, title, joint if joint is not head else None, head)
        for key, title in SUMMARY
        if head.get(key) is not None
    }
    return Verdict(
        head["name"], payload.get("chosen_on") if chosen else None, changes, head["marks"], len(payload["heads"])
    )


def _change(key: str, title: str, joint: Payload | None, head: Payload) -> Change:
    after = figure(head[key], "percent", head["intervals"].get(key))
    found = (head["difference"] or {}).get(key)
    if joint is None or joint.get(key) is None or found is None or found["value"] is None:
        return Change(title, None, after, None, "open")
    delta = difference(found["value"], found["low"], found["high"], "percent")
    directions: dict[str, Literal["up", "down", "open"]] = {"gain": "up", "loss": "down", "": "open"}
    return Change(
        title,
        figure(joint[key], "percent"),
        after,
        delta,
        "same" if found["value"] == 0 else directions[delta.tone],
    )
