"""The result in plain words, at the head of the page."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from rebalance.report.page.rendering import render


def said(payload: dict[str, Any]) -> str:
    """The text above the sections."""
    header = render(payload, []).split("<header>")[1].split("<nav")[0]
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]+>", "", header)))


def test_result_is_one_sentence_in_plain_words(payload: dict[str, Any]) -> None:
    text = said(payload)
    head = next(head for head in payload["heads"] if head["name"] == payload["chosen"])
    assert "crt + temperature, chosen on val and judged beside 10 other heads, reaches" in text
    assert f"{100 * head['balanced']:.1f} % balanced accuracy on test (95 % interval" in text
    assert f"a difference of +{100 * head['difference']['balanced']['value']:.1f} points" in text
    assert "Recall on the many classes falls from" in text


@pytest.mark.parametrize("figure", ["many", "balanced"])
@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (
            {"value": 0.02, "low": 0.01, "high": 0.03},
            {"many": "many classes rises", "balanced": "a difference of +2.0"},
        ),
        ({"value": 0.02, "low": -0.01, "high": 0.03}, {"many": "show no difference", "balanced": "cannot tell"}),
        ({"value": 0.0, "low": 0.0, "high": 0.0}, {"many": "stays at", "balanced": "That is what the joint"}),
        ({"value": -0.02, "low": None, "high": None}, {"many": "(−2.0 points).", "balanced": "of −2.0 points."}),
    ],
)
def test_result_says_how_sure_it_is(
    payload: dict[str, Any], figure: str, difference: dict[str, float | None], words: dict[str, str]
) -> None:
    head = next(head for head in payload["heads"] if head["name"] == payload["chosen"])
    head["difference"][figure] = difference
    assert words[figure] in said(payload)


def test_result_warns_where_nobody_chose_or_the_head_has_seen_the_rows(payload: dict[str, Any]) -> None:
    text = said(payload | {"chosen": None, "chosen_on": None})
    assert f"Of 11 heads, {payload['heads'][0]['name']} reaches" in text
    assert "expect somewhat less on new rows" in text
    text = said(payload | {"chosen": "lws"})
    assert "Its figures are optimistic: tuned on test." in text


@pytest.mark.parametrize(
    ("goal", "prior", "words"),
    [
        ("top1", None, "reaches 50.0 % top-1 accuracy on test (95 % interval 40.0–60.0). The joint head reaches"),
        ("top1", "backward:50", "top-1 accuracy on test, weighted to the class prior backward:50 (95 % interval"),
        (
            "cost",
            None,
            "costs 0.5 a row on test (95 % interval 0.4–0.6). The joint head costs 0.75 a row: a difference",
        ),
    ],
)
def test_result_speaks_of_the_goal(payload: dict[str, Any], goal: str, prior: str | None, words: str) -> None:
    for head in payload["heads"]:
        head[goal] = 0.75 if head["name"] == "joint" else 0.5
        head["intervals"][goal] = [0.4, 0.6]
        if head["difference"]:
            head["difference"][goal] = {"value": -0.25, "low": -0.3, "high": -0.2}
    assert words in said(payload | {"goal": goal, "chosen_by": goal, "target_prior": prior})


def test_result_compares_with_the_head_that_is_named(payload: dict[str, Any]) -> None:
    text = said(payload | {"against": "crt"})
    assert re.search(r"\. crt reaches [0-9.]+ %", text)
    assert "joint" not in text


def test_result_says_that_nothing_beats_joint(payload: dict[str, Any]) -> None:
    text = said(payload | {"chosen": "joint"})
    assert "No other head did better on val." in text
