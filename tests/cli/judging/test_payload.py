"""Everything that is known of judged heads, as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from rebalance import LinearHead
from rebalance_cli.judging.judged import judge, payload_of
from rebalance_cli.judging.options import Judging
from rebalance_cli.judging.payload import marks
from rebalance_cli.judging.scoreboard import TUNED_ON_SEEN
from rebalance_cli.options import Common

PLAIN = Judging(None, None, "test", (2, 4), False, None, None, 10, False)
COMMON = Common(False, 5, "cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    """Two classes told apart by their sign, and a third that has no row in test; one test row has no label."""
    path = tmp_path_factory.mktemp("payload") / "x.cache"
    features = np.array([[1.0], [2], [-1], [-2], [0.5], [1]], dtype=np.float32)
    head = LinearHead(torch.tensor([[1.0], [-1.0], [0.0]]), torch.tensor([0.0, 0.0, -9.0]))
    write(path, "train", features, np.array([0, 0, 1, 1, 0, 2]), head=head, class_names=["a", "b", "<c>"])
    ids = [f"t{row}" for row in range(6)]
    labels = np.array([0, 0, 1, 0, 1, -1])
    write(path, "test", features, labels, head=head, class_names=["a", "b", "<c>"], sample_ids=ids)
    return FeatureCache(path)


def a_payload(cache: FeatureCache, heads: dict[str, LinearHead], options: Judging = PLAIN) -> dict[str, Any]:
    reports = judge(cache, heads, options, COMMON)
    files = {name: None if name == "joint" else Path(f"{name}.safetensors") for name in heads}
    payload = payload_of(cache, Path("x.cache"), heads, reports, options, COMMON, files)
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload  # plain values only
    return payload


@pytest.fixture(scope="module")
def heads(cache: FeatureCache) -> dict[str, LinearHead]:
    weight, bias = cache.head
    return {"worse": LinearHead(-weight, bias), "joint": LinearHead(weight, bias), "same": LinearHead(2 * weight, bias)}


def test_the_best_comes_first_and_equals_keep_their_order(cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
    payload = a_payload(cache, heads)
    assert [head["name"] for head in payload["heads"]] == ["joint", "same", "worse"]
    values = [head["balanced"] for head in payload["heads"]]
    assert values == sorted(values, reverse=True)


def test_what_was_judged(cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
    payload = a_payload(cache, heads)
    expected = {
        "cache": "x.cache",
        "split": "test",
        "rows": 6,
        "shots": {"few": 2, "many": 4, "closed": False},
        "rule": "many > 4, medium 2..4, few < 2 training rows",
        "target_prior": None,
        "costs": None,
        "replicates": 10,
        "seed": 5,
        "notes": ["2 of 2 classes have fewer than 5 rows, so the intervals are too narrow"],
        "failed": [],
        "chosen": None,
        "chosen_on": None,
        "classes": {"names": ["a", "b", "<c>"], "counts": [3, 2, 1], "rows": [3, 2, 0]},
    }
    assert {key: payload[key] for key in expected} == expected


def test_the_convention_the_prior_and_the_costs(
    cache: FeatureCache, heads: dict[str, LinearHead], tmp_path: Path
) -> None:
    np.savetxt(tmp_path / "c.csv", 1 - np.eye(3), delimiter=",")
    options = replace(PLAIN, few_includes_bound=True, target_prior="backward:50", costs=tmp_path / "c.csv")
    payload = a_payload(cache, heads, options)
    assert payload["shots"]["closed"] is True
    assert payload["rule"] != a_payload(cache, heads)["rule"]
    assert (payload["target_prior"], payload["costs"]) == ("backward:50", "c.csv")
    assert any("target prior is on classes without rows" in note for note in payload["notes"])
    for head in payload["heads"]:  # each mistake costs one
        assert head["cost"] == pytest.approx(1 - head["top1"])


def test_each_head(cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
    payload = a_payload(cache, heads)
    joint, same, worse = payload["heads"]
    assert (joint["difference"], joint["mcnemar"], joint["file"]) == (None, None, None)
    assert same["difference"]["balanced"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert same["mcnemar"] == {"only_head": 0, "only_other": 0, "p": 1.0}
    assert worse["difference"]["top1"]["value"] == pytest.approx(worse["top1"] - joint["top1"])
    assert (worse["mcnemar"]["only_head"], worse["mcnemar"]["only_other"]) == (2, 3)
    assert worse["file"] == "worse.safetensors"
    assert joint["recall"] == [pytest.approx(2 / 3), 0.5, None]


def test_the_differences_come_in_the_order_of_the_figures(cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
    (_, same, _) = a_payload(cache, heads)["heads"]
    assert list(same["difference"]) == [key for key in same if key in same["difference"]]


def test_without_a_joint_head_there_is_no_difference(cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
    payload = a_payload(cache, {"same": heads["same"], "worse": heads["worse"]})
    assert [(head["difference"], head["mcnemar"]) for head in payload["heads"]] == [(None, None)] * 2


def test_where_it_is_from(cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
    provenance = a_payload(cache, heads)["provenance"]
    assert provenance["cache"] == cache.hash
    assert provenance["versions"]["torch"] == torch.__version__
    assert provenance["options"]["shots"] == [2, 4]
    assert provenance["options"]["device"] == "cpu"
    assert provenance["seed"] == 5


def test_without_training_rows_it_says_so(tmp_path: Path) -> None:
    head = LinearHead(torch.eye(3))
    write(tmp_path / "x.cache", "test", np.eye(3, dtype=np.float32), np.arange(3), head=head)
    payload = a_payload(FeatureCache(tmp_path / "x.cache"), {"joint": head})
    assert payload["classes"]["counts"] is None
    assert "the cache has no split called train, so no class is many, medium or few" in payload["notes"]


def test_a_record_with_numbers_that_json_does_not_have(cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
    record = {"method": "mine", "deep": {"list": [float("nan"), 1.5, float("inf")]}}
    (head,) = a_payload(cache, {"x": heads["same"].with_record(**record)})["heads"]
    assert head["record"] == {"method": "mine", "deep": {"list": [None, 1.5, None]}}


@pytest.mark.parametrize(
    ("record", "split", "expected"),
    [
        ({"tuned_on": "val"}, "test", []),
        ({"tuned_on": "test", "fitted_on": "train"}, "test", ["tuned on test"]),
        ({"tuned_on": "test", "fitted_on": "test"}, "test", ["tuned on test", "fitted on test"]),
        ({"tuned_on": "train", "tuned_on_seen": True}, "test", [TUNED_ON_SEEN]),
        ({"tuned_on": "val", "tuned_on_seen": False}, "test", []),
        ({"fitted_on": "train"}, "train", ["fitted on train", "the backbone was trained on train"]),
        ({"tuned_on": ["test"], "tuned_on_seen": "yes"}, "test", []),
    ],
)
def test_marks(record: dict[str, Any], split: str, expected: list[str], cache: FeatureCache) -> None:
    assert marks(LinearHead(*cache.head, record=record), cache[split]) == expected
