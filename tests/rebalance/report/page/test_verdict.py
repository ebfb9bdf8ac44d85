"""Which head the page is about, and how its figures moved."""

from __future__ import annotations

from typing import Any

import pytest

from rebalance.report.page.verdict import verdict


def test_it_is_about_the_chosen_head(payload: dict[str, Any]) -> None:
    found = verdict(payload)
    assert (found.head, found.chosen_on, found.heads, found.is_reference) == ("crt + temperature", "val", 11, False)
    assert list(found.changes) == ["balanced", "top1", "many", "medium", "few"]


def test_it_is_about_the_best_head_where_none_was_chosen(payload: dict[str, Any]) -> None:
    best = payload["heads"][0]["name"]
    for chosen in (None, "a head that is not here"):
        found = verdict(payload | {"chosen": chosen})
        assert (found.head, found.chosen_on) == (best, None)


def test_figures_are_before_and_after(payload: dict[str, Any]) -> None:
    joint, chosen = (next(h for h in payload["heads"] if h["name"] == n) for n in ("joint", "crt + temperature"))
    change = verdict(payload).changes["few"]
    assert change.before is not None
    assert change.before.text == f"{100 * joint['few']:.1f}"
    assert change.after.text == f"{100 * chosen['few']:.1f}"


@pytest.mark.parametrize(
    ("value", "low", "high", "direction"),
    [
        (0.1, 0.05, 0.2, "up"),
        (-0.1, -0.2, -0.05, "down"),
        (0.1, -0.1, 0.2, "open"),
        (0.1, None, None, "open"),
        (0.0, 0.0, 0.0, "same"),
        (0.0, None, None, "same"),
    ],
)
def test_direction_needs_an_interval(
    payload: dict[str, Any], value: float, low: float | None, high: float | None, direction: str
) -> None:
    head = next(head for head in payload["heads"] if head["name"] == payload["chosen"])
    head["difference"]["many"] = {"value": value, "low": low, "high": high}
    assert verdict(payload).changes["many"].direction == direction


def test_without_a_joint_head_there_is_nothing_to_compare_with(payload: dict[str, Any]) -> None:
    payload["heads"] = [head | {"difference": None} for head in payload["heads"] if head["name"] != "joint"]
    assert all(change.before is None and change.difference is None for change in verdict(payload).changes.values())


def test_it_compares_with_the_head_that_was_compared_with(payload: dict[str, Any]) -> None:
    crt = next(head for head in payload["heads"] if head["name"] == "crt")
    found = verdict(payload | {"against": "crt"})
    before = found.changes["few"].before
    assert before is not None
    assert (found.against, before.text) == ("crt", f"{100 * crt['few']:.1f}")
    assert verdict(payload | {"against": None}).changes["few"].before is None


def test_the_goal_comes_first(payload: dict[str, Any]) -> None:
    for head in payload["heads"]:
        head["cost"] = 0.25
        if head["difference"]:
            head["difference"]["cost"] = {"value": -0.5, "low": -0.6, "high": -0.4}
    assert list(verdict(payload | {"goal": "top1"}).changes)[:2] == ["top1", "balanced"]
    change = next(iter(verdict(payload | {"goal": "cost"}).changes.values()))
    assert (change.title, change.unit, change.direction) == ("cost a row", "", "up")


def test_joint_is_not_compared_with_itself(payload: dict[str, Any]) -> None:
    found = verdict(payload | {"chosen": "joint"})
    assert found.is_reference
    assert all(change.before is None for change in found.changes.values())


def test_figures_that_are_not_defined_are_left_out(payload: dict[str, Any]) -> None:
    head = next(head for head in payload["heads"] if head["name"] == payload["chosen"])
    head["medium"] = None
    assert list(verdict(payload).changes) == ["balanced", "top1", "many", "few"]
