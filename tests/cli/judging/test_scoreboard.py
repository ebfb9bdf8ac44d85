"""The tables of judged heads, from a payload."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from rebalance.metrics import FIGURES
from rebalance_cli.judging.scoreboard import TUNED_ON_SEEN, show

Shown = Callable[..., list[str]]


def a_head(name: str, value: float, *, joint: bool = False, **entries: Any) -> dict[str, Any]:
    """A head all of whose figures are one value."""
    difference = {key: {"value": 0.131, "low": 0.122, "high": 0.14} for key in FIGURES}
    return {
        "name": name,
        **dict.fromkeys(FIGURES, value),
        "intervals": {key: [value - 0.007, value + 0.007] for key in FIGURES},
        "difference": None if joint else difference,
        "mcnemar": None if joint else {"only_head": 31, "only_other": 9, "p": 0.0006},
        "marks": [],
        "recall": [*[0.5] * 5, None],
        "recall_interval": [*[[0.4, 0.6]] * 5, [None, None]],
        "precision": [0.25] * 6,
        **entries,
    }


def a_payload(*heads: dict[str, Any], **entries: Any) -> dict[str, Any]:
    return {
        "split": "test",
        "rule": "many > 100, medium 20..100, few < 20 training rows",
        "shots": {"few": 20, "many": 100, "closed": False},
        "target_prior": None,
        "costs": None,
        "replicates": 1000,
        "goal": "balanced",
        "against": "joint",
        "notes": [],
        "heads": list(heads),
        "failed": [],
        "chosen": None,
        "chosen_on": None,
        "classes": {"names": None, "counts": [300, 10, 100, 20, 19, 101], "rows": [50] * 6},
        **entries,
    }


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    """The lines that a payload is shown as."""

    def lines(payload: dict[str, Any], *, full: bool = False) -> list[str]:
        show(payload, full=full)
        out, err = capsys.readouterr()
        assert err == ""
        return [line.rstrip() for line in out.splitlines()]

    return lines


@pytest.fixture
def two() -> tuple[dict[str, Any], dict[str, Any]]:
    return a_head("crt", 0.729), a_head("joint", 0.6, joint=True)


def test_a_row_a_head_in_the_order_of_the_payload(two: Any, shown: Shown) -> None:
    lines = shown(a_payload(*two))
    titles = ["head", "top-1", "top-5", "balanced", "many", "medium", "few", "worst", "macro F1", "balanced vs joint"]
    assert re.split(r"  +", lines[0]) == titles
    assert lines[2] == "crt    " + "  ".join(["72.9±0.7"] * 6) + "   72.9  72.9±0.7  +13.1 [+12.2, +14.0]"
    assert lines[3] == "joint  " + "  ".join(["60.0±0.7"] * 6) + "   60.0  60.0±0.7                     –"


def test_the_rule_stands_below_every_table(two: Any, shown: Shown) -> None:
    rule = "test: 300 labelled rows; many > 100, medium 20..100, few < 20 training rows"
    assert shown(a_payload(*two)).count(rule) == 2
    assert shown(a_payload(*two, costs="c.csv", target_prior="backward:50")).count(
        f"{rule}; classes weighted as backward:50"
    ) == 3  # fmt: skip
    assert shown(a_payload(*two), full=True).count(rule) == 7


def test_what_the_sign_is(two: Any, shown: Shown) -> None:
    (line,) = [line for line in shown(a_payload(*two)) if "± is" in line]
    assert line.startswith("± is half of the 95 % interval, from 1000 draws of the rows within their classes")
    assert line.endswith("differences are paired row by row")
    assert len(line) <= 120
    without = [each | {"intervals": {}} for each in two]
    assert not any("±" in line for line in shown(a_payload(*without, replicates=0)))


def test_everything_fits_120_characters(shown: Shown) -> None:
    heads = a_head("label_aware_smoothing", 0.729), a_head("joint", 0.6, joint=True)
    assert max(map(len, shown(a_payload(*heads, costs="c.csv")))) <= 120


def test_five_classes_have_no_top5(two: Any, shown: Shown) -> None:
    heads = [each | {"top5": None, "recall": [0.5] * 5, "precision": [0.5] * 5} for each in two]
    classes = {"names": None, "counts": [9] * 5, "rows": [9] * 5}
    assert "top-5" not in "".join(shown(a_payload(*heads, classes=classes)))


def test_one_head_has_nothing_to_be_compared_with(shown: Shown) -> None:
    text = "\n".join(shown(a_payload(a_head("crt", 0.7, joint=True)), full=True))
    assert "joint" not in text
    assert "McNemar" not in text


def test_costs_have_a_table(two: Any, shown: Shown) -> None:
    assert not any("cost" in line for line in shown(a_payload(*two)))
    lines = shown(a_payload(*two, costs="c.csv"))
    (at,) = [i for i, line in enumerate(lines) if line.startswith("head") and "cost" in line]
    assert lines[at].split("  ")[0] == "head"
    assert lines[at + 2].split() == ["crt", "0.729±0.007", "0.729±0.007", "+0.131", "[+0.122,", "+0.14]"]


class TestFull:
    """What is shown when all is asked for."""

    def test_other_means_and_mcnemar(self, two: Any, shown: Shown) -> None:
        lines = shown(a_payload(*two), full=True)
        (at,) = [i for i, line in enumerate(lines) if "McNemar p" in line]
        assert lines[at + 2].split() == ["crt", *["72.9±0.7"] * 5, "31", "9", "0.0006"]
        assert lines[at + 3].split() == ["joint", *["60.0±0.7"] * 5, "–", "–", "–"]

    def test_a_tiny_p_is_not_shown_as_zero(self, two: Any, shown: Shown) -> None:
        two[0]["mcnemar"]["p"] = 1e-12
        assert any(line.endswith("<0.0001") for line in shown(a_payload(*two), full=True))

    def test_classes_by_their_training_rows(self, two: Any, shown: Shown) -> None:
        lines = shown(a_payload(*two), full=True)
        at = next(i for i, line in enumerate(lines) if line.startswith("recall of"))
        assert [line.split() for line in lines[at + 2 : at + 8]] == [
            ["0", "many", "300", "50", "50.0±10.0", "50.0±10.0"],
            ["5", "many", "101", "50", "–", "–"],
            ["2", "medium", "100", "50", "50.0±10.0", "50.0±10.0"],
            ["3", "medium", "20", "50", "50.0±10.0", "50.0±10.0"],
            ["4", "few", "19", "50", "50.0±10.0", "50.0±10.0"],
            ["1", "few", "10", "50", "50.0±10.0", "50.0±10.0"],
        ]
        assert any(line.startswith("precision of") for line in lines)

    def test_without_training_rows_there_are_no_groups(self, two: Any, shown: Shown) -> None:
        classes = {"names": list("abcdef"), "counts": None, "rows": [1, 6, 2, 5, 3, 4]}
        lines = shown(a_payload(*two, classes=classes), full=True)
        at = next(i for i, line in enumerate(lines) if line.startswith("recall of"))
        assert [line.split()[:4] for line in lines[at + 2 : at + 4]] == [["b", "–", "–", "6"], ["d", "–", "–", "5"]]


class TestBelow:
    """Marks, failures, notes and the chosen one."""

    def test_marks(self, shown: Shown) -> None:
        crt, lws = a_head("crt", 0.7, marks=["tuned on test"]), a_head("lws", 0.6, marks=[TUNED_ON_SEEN])
        lines = shown(a_payload(crt, lws))
        assert "* crt: tuned on test; its figures are optimistic" in lines
        assert "* lws: tuned on rows the backbone was trained on; its choice is doubtful" in lines
        assert [line[:6] for line in lines if "±0.7" in line][:2] == ["crt * ", "lws * "]

    def test_failures_and_notes(self, two: Any, shown: Shown) -> None:
        lines = shown(a_payload(*two, failed=[{"name": "lws", "why": "RuntimeError: no\x1b[31m"}], notes=["one\ntwo"]))
        assert lines[-2:] == ["lws: failed: RuntimeError: no\ufffd[31m", "note: one\ufffdtwo"]

    def test_the_chosen_one(self, two: Any, shown: Shown) -> None:
        payload = a_payload(*two, chosen="crt", chosen_on="val", validation={"crt": 0.7712})
        assert shown(payload)[-1] == "chosen on val: crt (balanced 77.1 %)"


def test_strangers_texts_are_harmless(shown: Shown) -> None:
    bad = "\x1b[31mred\n\u202e"
    heads = a_head(bad, 0.7, marks=[bad]), a_head("[bold]x", 0.6)
    classes = {"names": [bad] * 6, "counts": [1] * 6, "rows": [1] * 6}
    payload = a_payload(*heads, classes=classes, notes=[bad], target_prior=bad, split=bad)
    lines = shown(payload, full=True)
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith("[bold]x ") for line in lines)
