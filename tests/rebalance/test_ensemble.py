"""A weighted sum of heads is the head of the weighted sum; the search between two heads is exact."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rebalance import GatedHead, LinearHead, NormalizedHead, evaluate, load_head
from rebalance.ensemble import between_intervals, ensemble
from rebalance.methods import cosine, ncm
from rebalance.metrics import balanced_row_weights
from rebalance.search.path import Sweep


def heads(count: int, *, seed: int = 0, classes: int = 5, whole: bool = False) -> list[LinearHead]:
    """Random heads; of whole numbers, so that logits tie, if asked for."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(count):
        weight, bias = torch.randn(classes, 8, generator=generator), torch.randn(classes, generator=generator)
        out.append(LinearHead(weight.round(), bias.round()) if whole else LinearHead(weight, bias))
    return out


def rare_and_frequent(problem: Any) -> list[LinearHead]:
    """The joint head, which favours frequent classes, and one that goes too far the other way."""
    joint = problem.head
    return [joint, LinearHead(joint.weight, joint.bias - 4 * torch.log(problem.counts))]


def between(one: LinearHead, other: LinearHead, t: float, features: Any) -> np.ndarray[Any, Any]:
    """Logits at t in float64."""
    x = np.asarray(features, dtype=np.float64)
    start, end = (x @ head.weight.double().numpy().T + head.bias.double().numpy() for head in (one, other))
    return np.asarray((1 - t) * start + t * end)


def test_the_average_is_that_of_the_logits(problem: Any) -> None:
    several = heads(3)
    head = ensemble(several, problem.features, problem.labels)
    expected = torch.stack([each(problem.features) for each in several]).mean(dim=0)
    torch.testing.assert_close(head(problem.features), expected, rtol=1e-5, atol=1e-5)
    assert type(head) is LinearHead


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=4))
def test_weights_are_used_as_they_are(problem: Any, weights: list[float]) -> None:
    several = heads(len(weights))
    head = ensemble(several, problem.features, problem.labels, weights=weights)
    expected = sum(share * each(problem.features) for share, each in zip(weights, several, strict=True))
    assert isinstance(expected, torch.Tensor)
    # Four terms of at most 3 * 30 in float32.
    torch.testing.assert_close(head(problem.features), expected, rtol=1e-5, atol=1e-4)
    assert head.record["weights"] == weights


def test_normalised_heads_of_one_centre_are_summed_too(problem: Any) -> None:
    rows = problem.features, problem.labels
    several = [ncm(None, *rows, transform="l2n", distance="cosine"), cosine(None, *rows, scale=2.0)]
    head = ensemble(several, *rows, weights=[0.3, 0.7])
    assert isinstance(head, NormalizedHead)
    expected = 0.3 * several[0](problem.val_features) + 0.7 * several[1](problem.val_features)
    torch.testing.assert_close(head(problem.val_features), expected)
    judged = problem.val_features, problem.val_labels
    found = ensemble(several, *judged, weights="search", select="best")
    best = max(evaluate(each(judged[0]), judged[1]).balanced for each in several)
    assert evaluate(found(judged[0]), judged[1]).balanced >= best - 1e-9


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(2, 6), st.booleans())
def test_intervals_are_where_brute_force_is_right(seed: int, classes: int, whole: bool) -> None:
    """Whole numbers tie often, and give identical lines; the lowest class id then wins, as with argmax."""
    one, other = heads(2, seed=seed, classes=classes, whole=whole)
    rng = np.random.default_rng(seed)
    features, labels = rng.integers(-2, 3, (40, 8)).astype(np.float32), rng.integers(-1, classes, 40)
    lo, hi = between_intervals(one, other, features, torch.from_numpy(labels))
    breakpoints = np.unique(np.concatenate([lo, hi]))
    for t in np.concatenate([np.linspace(-3, 4, 301), [-1e4, 1e4]]) + 1e-5 * np.pi:
        clear = np.abs(breakpoints - t).min(initial=np.inf) > 1e-9  # rounding decides a tie
        right = between(one, other, t, features).argmax(1) == labels
        assert not clear or (right == ((lo < t) & (t < hi))).all()


@pytest.mark.parametrize("metric", ["balanced", "top1"])
def test_no_grid_finds_a_better_point(metric: Any, problem: Any) -> None:
    one, other = rare_and_frequent(problem)
    rows = problem.val_features, problem.val_labels
    head = ensemble([one, other], *rows, weights="search", metric=metric, select="best")
    tuned = head.record["tuned"]
    assert 0 < tuned["parameters"]["t"] < 1
    assert tuned["value"] == pytest.approx(getattr(evaluate(head(rows[0]), rows[1]), metric), abs=1e-9)
    grid = [
        getattr(evaluate(torch.from_numpy(between(one, other, t, rows[0])), rows[1]), metric)
        for t in np.linspace(0, 1, 1001)
    ]
    assert tuned["value"] >= max(grid) - 1e-9
    assert tuned["value"] > max(grid[0], grid[-1]) + 0.01  # better than either: there is something to find


def test_the_choice_stays_between_the_heads(problem: Any) -> None:
    """Where the line's best lies beyond an end, the point taken lies before it."""
    one, other = rare_and_frequent(problem)
    near = ensemble([one, other], problem.features, problem.labels, weights=[0.9, 0.1])
    rows = problem.val_features, problem.val_labels
    curve = Sweep.of(*between_intervals(one, near, *rows)).curve(balanced_row_weights(rows[1].numpy()))
    inside = curve.values[np.searchsorted(curve.breakpoints, 0) : np.searchsorted(curve.breakpoints, 1) + 1].max()
    assert curve.values.max() > inside + 0.01  # far beyond `near` is better
    head = ensemble([one, near], *rows, weights="search", select="best")
    assert 0 <= head.record["tuned"]["parameters"]["t"] <= 1
    assert head.record["tuned"]["value"] == pytest.approx(inside)


def test_one_standard_error_reaches_farther_than_the_best(problem: Any) -> None:
    rows = problem.val_features, problem.val_labels
    widths = []
    for select in ("best", "1se"):
        head = ensemble(rare_and_frequent(problem), *rows, weights="search", select=select)  # type: ignore[arg-type]
        low, high = head.record["tuned"]["interval"]
        widths.append(high - low)
    assert widths[0] < widths[1]


def test_equal_heads_meet_in_the_middle(problem: Any) -> None:
    head = ensemble([problem.head] * 2, problem.val_features, problem.val_labels, weights="search")
    assert head.record["weights"] == [0.5, 0.5]
    torch.testing.assert_close(head.weight, problem.head.weight)


def test_exchanging_the_heads_turns_the_line_round(problem: Any) -> None:
    one, other = rare_and_frequent(problem)
    rows = problem.val_features, problem.val_labels
    there = ensemble([one, other], *rows, weights="search")
    back = ensemble([other, one], *rows, weights="search")
    assert there.record["weights"] == pytest.approx(back.record["weights"][::-1])


@pytest.mark.parametrize("kind", ["map", "slices", "blocks"])
def test_the_kind_of_array_does_not_matter(
    kind: str, problem: Any, float16_map: Any, slice_only: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ensemble(rare_and_frequent(problem), problem.features, problem.labels, weights="search")
    if kind == "blocks":
        monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 8 * 13)
    features = {"map": float16_map, "slices": slice_only(float16_map), "blocks": problem.features}[kind]
    head = ensemble(rare_and_frequent(problem), features, problem.labels.numpy(), weights="search")
    assert head.record["weights"] == pytest.approx(expected.record["weights"])


def test_unlabelled_rows_do_not_judge(problem: Any) -> None:
    features = torch.cat([problem.val_features, -problem.val_features])
    labels = torch.cat([problem.val_labels, torch.full_like(problem.val_labels, -1)])
    head = ensemble(rare_and_frequent(problem), features, labels, weights="search")
    expected = ensemble(rare_and_frequent(problem), problem.val_features, problem.val_labels, weights="search")
    assert head.record["tuned"] == expected.record["tuned"]


def test_the_record_names_its_heads_and_survives_a_file(problem: Any, tmp_path: Any) -> None:
    several = [problem.head, problem.head.with_record(method="crt")]
    head = ensemble(several, problem.val_features, problem.val_labels, weights="search", select="1se-bootstrap")
    assert head.record["method"] == "ensemble"
    assert [each["method"] for each in head.record["heads"]] == ["joint", "crt"]
    assert head.record["tuned"]["rows"] == 60
    assert json.loads(json.dumps(head.record, allow_nan=False)) == head.record
    head.save(tmp_path / "head.safetensors")
    assert load_head(tmp_path / "head.safetensors").record == head.record


def refused_heads() -> dict[str, tuple[list[LinearHead], dict[str, Any], list[str]]]:
    one, other = heads(2)
    weight = one.weight
    return {
        "one": ([one], {}, ["ensemble of 1 heads", "two or more"]),
        "types": ([one, NormalizedHead(weight)], {}, ["LinearHead, NormalizedHead", "no one head"]),
        "gated": ([GatedHead(weight)] * 2, {}, ["GatedHead", "no one head"]),
        "centres": ([NormalizedHead(weight, center=torch.full((8,), c)) for c in (0.0, 1.0)], {}, ["centre"]),
        "shapes": ([one, LinearHead(weight[:4])], {}, [r"\(4, 8\), \(5, 8\)"]),
        "too few weights": ([one, other], {"weights": [1.0]}, ["weights", "for 2 heads"]),
        "no number": ([one, other], {"weights": [1.0, float("nan")]}, ["weights", "nan", "finite"]),
        "word": ([one, other], {"weights": "average"}, ["weights", "'average'"]),
        "search of three": ([one, other, one], {"weights": "search"}, ["search", "3 heads"]),
        "metric": ([one, other], {"weights": "search", "metric": "nll"}, ["metric", "nll", "balanced"]),
        "select": ([one, other], {"weights": "search", "select": "2se"}, ["select", "2se"]),
    }


@pytest.mark.parametrize("case", refused_heads())
def test_what_cannot_be_one_head_is_refused(case: str, problem: Any, refuses: Any) -> None:
    several, options, parts = refused_heads()[case]
    with refuses(*parts):
        ensemble(several, problem.features, problem.labels, **options)


def test_rows_that_cannot_judge_are_refused(problem: Any, refuses: Any) -> None:
    several = rare_and_frequent(problem)
    with refuses("no row has a label"):
        ensemble(several, problem.features, torch.full_like(problem.labels, -1), weights="search")
    with refuses("109 labels", "110 rows"):
        ensemble(several, problem.features, problem.labels[:-1], weights="search")
    with refuses("16 wide", "takes 8"):
        ensemble(several, problem.features.repeat(1, 2), problem.labels, weights="search")
    features = problem.features.clone()
    features[17, 3] = torch.nan
    with refuses("row 17 of 110"):
        ensemble(several, features, problem.labels, weights="search")


@pytest.mark.cuda
def test_the_gpu_agrees(problem: Any) -> None:
    several = rare_and_frequent(problem)
    rows = problem.val_features, problem.val_labels
    head = ensemble([each.to("cuda") for each in several], *(each.cuda() for each in rows), weights="search")
    assert head.weight.device.type == "cuda"
    expected = ensemble(several, *rows, weights="search")
    assert head.record["weights"] == pytest.approx(expected.record["weights"], abs=1e-6)
