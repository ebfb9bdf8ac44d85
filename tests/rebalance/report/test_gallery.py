"""All figures of one comparison; those that cannot be drawn are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from rebalance import LinearHead, evaluate_head, tune
from rebalance.classes import Shots
from rebalance.methods import crt, tau_norm
from rebalance.report.gallery import Judged
from rebalance.report.gallery import gallery as hang
from rebalance.report.style import LIGHT

SHOTS = Shots(5, 40)
EVERY = ["recall", "trade_off", "confusions", "reliability", "tau_curve", "norms", "cones"]


def judge(problem: Any, heads: dict[str, LinearHead], counts: Any, **options: Any) -> list[Judged]:
    rows = (problem.val_features, problem.val_labels)
    return [
        Judged(name, head, evaluate_head(head, *rows, counts, shots=SHOTS, **options)) for name, head in heads.items()
    ]


@pytest.fixture(scope="module")
def heads(problem: Any) -> dict[str, LinearHead]:
    best = tune(tau_norm, problem.head, problem.val_features, problem.val_labels)
    return {
        "joint": problem.head,
        "tau": best.head.with_record(tuned_on="val"),
        "crt": crt(None, problem.features, problem.labels, weight_decay=1e-2),
    }


def gallery(problem: Any, judged: list[Judged], **options: Any) -> Any:
    rows = {"features": problem.val_features, "labels": problem.val_labels, "class_names": None}
    return hang(judged, **{"counts": problem.counts, "after": "crt", **rows, **options}).drawings


def names(found: Any) -> list[str]:
    return [each.name for each in found]


def test_every_figure_is_drawn_and_written(problem: Any, heads: dict[str, LinearHead], tmp_path: Path) -> None:
    judged = judge(problem, heads, problem.counts, replicates=20)
    found = gallery(
        problem,
        judged,
        tuning=(problem.val_features, problem.val_labels, "val"),
        class_names=["=a", "<b>", "$c", "", "猫"],
    )
    assert names(found) == EVERY
    for each in found:
        assert len(each.save(tmp_path)) == 3
        assert each.svg(dark=True)
        assert all(len(row) == len(each.columns) for row in each.rows)
        assert each.title
        assert each.caption.endswith(".")
    assert len(list(tmp_path.iterdir())) == 3 * len(EVERY)


def test_the_two_that_are_compared_come_first(problem: Any, heads: dict[str, LinearHead]) -> None:
    judged = judge(problem, heads, problem.counts, replicates=20)
    found = {each.name: each for each in gallery(problem, judged)}
    assert "tau_curve" not in found  # without the rows it was tuned on
    assert [row[0] for row in found["trade_off"].rows] == ["joint", "crt", "tau"]
    assert found["recall"].columns[-2:] == ["recall of joint", "recall of crt"]
    assert found["norms"].columns[-3:] == [f"norm of {name} / mean" for name in ("joint", "crt", "tau")]
    joint = judged[0].report
    assert list(found["trade_off"].rows[0]) == [
        *("joint", joint.few, *joint.intervals["few"]),
        *(joint.many, *joint.intervals["many"], joint.balanced),
    ]


def test_reliability_is_that_of_the_reports(problem: Any, heads: dict[str, LinearHead]) -> None:
    judged = judge(problem, heads, problem.counts)
    (found,) = [each for each in gallery(problem, judged) if each.name == "reliability"]
    for name, figure in (("all rows", "ece"), ("few", "ece_few"), ("many", "ece_many")):
        for each in (judged[0], judged[2]):
            bins = [row for row in found.rows if row[0] == name and row[1] == each.name]
            error = sum(row[6] * abs(row[4] - row[5]) for row in bins if row[6] > 0)
            assert error == pytest.approx(getattr(each.report, figure), abs=1e-9)


def test_without_counts_there_are_no_groups(problem: Any, heads: dict[str, LinearHead]) -> None:
    judged = judge(problem, heads, None)
    assert names(gallery(problem, judged, counts=None)) == ["confusions", "reliability", "cones"]


@pytest.mark.parametrize("after", [None, "not there"])
def test_a_head_alone(problem: Any, heads: dict[str, LinearHead], after: str | None) -> None:
    judged = judge(problem, {"joint": heads["joint"]}, problem.counts)
    found = gallery(problem, judged, after=after)
    assert names(found) == ["recall", "trade_off", "confusions", "reliability", "norms"]
    assert all(each.svg() for each in found)


def test_no_joint_head(problem: Any, heads: dict[str, LinearHead]) -> None:
    judged = judge(problem, {"crt": heads["crt"]}, problem.counts)
    assert "recall of crt" in gallery(problem, judged)[0].columns
    assert "recall of crt" in gallery(problem, judged, after=None)[0].columns


def test_a_group_without_classes_leaves_no_trade_off(problem: Any, heads: dict[str, LinearHead]) -> None:
    rows = (problem.val_features, problem.val_labels)
    judged = [Judged("joint", heads["joint"], evaluate_head(heads["joint"], *rows, problem.counts, shots=Shots(0, 1)))]
    assert "trade_off" not in names(gallery(problem, judged))


def test_classes_that_are_asked_for(problem: Any, heads: dict[str, LinearHead], refuses: Any) -> None:
    judged = judge(problem, heads, problem.counts)
    (found,) = [each for each in gallery(problem, judged, classes=(1, 3, 4)) if each.name == "cones"]
    assert {row[3] for row in found.rows if row[0] == "row"} == {1, 3, 4}
    for wrong in ((1, 1, 2), (0, 1), (0, 1, 5), (-1, 0, 1)):
        with refuses("three different class ids"):
            gallery(problem, judged, classes=wrong)


def test_two_classes() -> None:
    features, labels = torch.eye(2).repeat(4, 1), torch.tensor([0, 1] * 4)
    heads = {"joint": LinearHead(torch.eye(2), torch.tensor([2.0, 0.0])), "crt": LinearHead(torch.eye(2))}
    judged = [Judged(name, head, evaluate_head(head, features, labels, [200, 3])) for name, head in heads.items()]
    found = hang(
        judged, counts=np.array([200, 3]), class_names=["a", "b"], features=features, labels=labels, after="crt"
    ).drawings
    assert names(found) == ["recall", "trade_off", "confusions", "reliability", "norms"]
    assert all(each.svg() for each in found)


def test_perfect_heads_confuse_nothing() -> None:
    features, labels = 30 * torch.eye(3).repeat(4, 1), torch.tensor([0, 1, 2] * 4)
    head = LinearHead(torch.eye(3))
    judged = [Judged(name, head, evaluate_head(head, features, labels, [200, 50, 3])) for name in ("joint", "crt")]
    found = hang(
        judged, counts=[200, 50, 3], class_names=None, features=features.numpy(), labels=labels.numpy(), after="crt"
    ).drawings
    assert names(found) == ["recall", "trade_off", "reliability", "norms", "cones"]
    assert all(each.svg() for each in found)
    shown = hang(judged, counts=[200, 50, 3], class_names=None, features=features, labels=labels, after="crt")
    assert shown.notes == [
        "no figure confusions: every row is right",
        "no figure tau_curve: no head was tuned on rows that are here",
    ]


class TestNotDrawn:
    """What is not drawn is said, and why."""

    def hung(self, problem: Any, judged: list[Judged], **options: Any) -> dict[str, str]:
        rows = {"features": problem.val_features, "labels": problem.val_labels, "class_names": None}
        found = hang(judged, **{"counts": problem.counts, "after": "crt", **rows, **options})
        assert {each.name for each in found.drawings}.isdisjoint(each.name for each in found.not_drawn)
        assert len(found.notes) == len(found.not_drawn)
        return {each.name: each.why for each in found.not_drawn}

    def test_all_is_drawn(self, problem: Any, heads: dict[str, LinearHead]) -> None:
        tuning = (problem.val_features, problem.val_labels, "val")
        assert self.hung(problem, judge(problem, heads, problem.counts), tuning=tuning) == {}

    def test_without_counts(self, problem: Any, heads: dict[str, LinearHead]) -> None:
        found = self.hung(problem, judge(problem, heads, None), counts=None)
        assert list(found) == ["recall", "trade_off", "tau_curve", "norms"]
        assert found["norms"] == "the training rows of the classes are not known"

    def test_no_class_is_few(self, problem: Any, heads: dict[str, LinearHead]) -> None:
        rows = (problem.val_features, problem.val_labels)
        report = evaluate_head(heads["joint"], *rows, problem.counts, shots=Shots(0, 1))
        found = self.hung(problem, [Judged("joint", heads["joint"], report)], after=None)
        assert found["trade_off"] == "no class that is few has rows"
        assert found["cones"] == "there are no two heads to compare"

    def test_no_head_to_draw_a_curve_of(self, problem: Any, heads: dict[str, LinearHead]) -> None:
        tuning = (problem.val_features, problem.val_labels, "val")
        judged = judge(problem, heads, problem.counts)
        assert "joint head" in self.hung(problem, judged[1:], tuning=tuning)["tau_curve"]
        assert "exact search on val" in self.hung(problem, judged[::2], tuning=tuning)["tau_curve"]

    def test_classes_whose_means_lie_on_a_line(self, problem: Any, heads: dict[str, LinearHead]) -> None:
        judged = judge(problem, heads, problem.counts)
        flat = {"features": problem.val_features[:, :1].repeat(1, 8)}
        assert "lie on a line" in self.hung(problem, judged, classes=(0, 1, 2), **flat)["cones"]


def test_a_head_that_only_rescales_another_is_left_out(problem: Any, heads: dict[str, LinearHead]) -> None:
    cold = LinearHead(heads["crt"].weight / 2, heads["crt"].bias / 2)
    shifted = LinearHead(heads["joint"].weight * 2, heads["joint"].bias * 2 + 1e-6)
    both = {"cold": cold, **heads, "twice": shifted}
    found = {each.name: each for each in gallery(problem, judge(problem, both, problem.counts))}
    assert [row[0] for row in found["trade_off"].rows] == ["joint", "crt", "tau"]
    assert [name for name in found["norms"].columns if "norm" in name] == [
        f"norm of {name} / mean" for name in ("joint", "crt", "tau")
    ]
    for name in ("trade_off", "norms"):
        assert found[name].caption.endswith("cold (as crt), twice (as joint).")


def test_heads_that_predict_alike_by_other_weights_keep_their_norms() -> None:
    features, labels = 30 * torch.eye(3).repeat(4, 1), torch.tensor([0, 1, 2] * 4)
    weights = {"joint": torch.eye(3), "crt": torch.diag(torch.tensor([1.0, 2.0, 3.0]))}
    judged = [
        Judged(name, LinearHead(weight), evaluate_head(LinearHead(weight), features, labels, [200, 50, 3]))
        for name, weight in weights.items()
    ]
    found = hang(judged, counts=[200, 50, 3], class_names=None, features=features, labels=labels).drawings
    named = {each.name: each for each in found}
    assert [row[0] for row in named["trade_off"].rows] == ["joint"]
    assert "norm of crt / mean" in named["norms"].columns


def test_a_head_without_a_name_to_draw_is_called_alike_everywhere(problem: Any, heads: dict[str, LinearHead]) -> None:
    judged = judge(problem, {"joint": heads["joint"], "猫": heads["tau"], "犬": heads["crt"]}, problem.counts)
    tuning = (problem.val_features, problem.val_labels, "val")
    found = {each.name: each for each in gallery(problem, judged, tuning=tuning, after="犬")}
    assert found["recall"].columns[-1] == "recall of 犬"
    for name in ("recall", "confusions", "reliability"):
        figure = Figure(layout="constrained")
        found[name].paint(figure, LIGHT)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["joint", "head 3"], name
    figure = Figure(layout="constrained")
    found["tau_curve"].paint(figure, LIGHT)
    assert figure.axes[0].get_xlabel() == "tau of head 2"
