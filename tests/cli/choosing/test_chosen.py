"""Choosing on a split of a cache: which split, what the head says of it, and what is doubtful."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from rebalance import LinearHead, tune
from rebalance_cli.caches import cached_head
from rebalance_cli.choosing.chosen import Rule, chosen_head, doubts, judging_split
from rebalance_cli.feeding import Feeding

RULE = Rule(on=None, folds=None, metric="balanced", select="1se", allow_seen=False)
CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """Three classes in train, which the backbone saw, and val, which it did not."""
    head = LinearHead(torch.eye(3, 4), torch.tensor([1.0, 0.0, -1.0]))
    for number, (split, counts) in enumerate((("train", (20, 9, 4)), ("val", (5, 5, 5)))):
        labels = np.repeat(np.arange(3), counts)
        rows = 2 * np.eye(3, 4)[labels] + np.random.default_rng(number).normal(size=(len(labels), 4))
        write(tmp_path / "x.cache", split, rows.astype(np.float32), labels, head=head, seen=split == "train")
    return FeatureCache(tmp_path / "x.cache")


class TestSplit:
    """The split whose rows judge."""

    def test_val_unless_another_is_named(self, cache: FeatureCache) -> None:
        assert judging_split(cache, RULE, None).name == "val"
        assert judging_split(cache, replace(RULE, on="train", allow_seen=True), None).name == "train"
        assert judging_split(cache, replace(RULE, allow_seen=True), "train").name == "train"

    def test_rows_that_the_backbone_saw_are_refused(self, cache: FeatureCache) -> None:
        for rule, in_turn in ((replace(RULE, on="train"), None), (RULE, "train")):
            with pytest.raises(ValueError, match=r"train cannot tune: the backbone was trained on .* use --on val"):
                judging_split(cache, rule, in_turn)

    def test_one_that_is_not_there(self, cache: FeatureCache) -> None:
        with pytest.raises(ValueError, match="no split 'nosuch' to judge on; there are: train, val"):
            judging_split(cache, replace(RULE, on="nosuch"), None)

    def test_folds_are_of_the_rows_of_the_fit(self, cache: FeatureCache) -> None:
        with pytest.raises(click.UsageError, match="rows of train"):
            judging_split(cache, replace(RULE, on="val"), "train")


@pytest.mark.parametrize("method", ["crt", "tau_norm", "logit_adjust"])
def test_it_is_what_the_library_finds_and_says_where(method: str, cache: FeatureCache) -> None:
    joint, train, val = cached_head(cache, CPU), cache["train"], cache["val"]
    rows, judging = (train, (val.features, val.labels)) if method == "crt" else (val, None)
    counts = cache.counts if method == "logit_adjust" else None
    best = tune(method, joint, rows.features, rows.labels, val=judging, counts=counts)
    found = chosen_head(method, cache, joint, val, RULE, Feeding(CPU), grid={}, seed=0)
    assert torch.equal(found.head.weight, best.head.weight)
    assert (found.value, found.parameters) == (best.value, best.parameters)
    record = found.head.record
    assert (record["fitted_on"], record["tuned_on"]) == ("train" if method == "crt" else None, "val")
    assert (record["tuned_on_seen"], record["cache"]) == (False, cache.hash)


class TestDoubts:
    """What is said of a choice that may be worth little."""

    def test_none_where_there_is_nothing_to_say(self, cache: FeatureCache) -> None:
        found = chosen_head("ncm", cache, cached_head(cache, CPU), cache["val"], RULE, Feeding(CPU), grid={}, seed=0)
        assert found.before is not None
        assert doubts(replace(found, value=found.before + 0.1), cache["val"]) == []

    def test_no_better_than_before(self, cache: FeatureCache) -> None:
        found = chosen_head("ncm", cache, cached_head(cache, CPU), cache["val"], RULE, Feeding(CPU), grid={}, seed=0)
        assert found.before is not None
        (text,) = doubts(replace(found, value=found.before), cache["val"])
        assert text.startswith("on val this is no better than the joint head")

    @pytest.mark.parametrize(("values", "said"), [((0.9, 0.5, 0.5), True), ((0.5, 0.9, 0.5), False)])
    def test_the_end_of_a_grid(self, values: tuple[float, ...], said: bool, cache: FeatureCache) -> None:
        found = chosen_head(
            "crt", cache, None, cache["val"], RULE, Feeding(CPU), grid={"weight_decay": [1e-4, 1e-3, 1e-2]}, seed=0
        )
        assert isinstance(found.curve, list)
        curve = [{**point, "value": value} for point, value in zip(found.curve, values, strict=True)]
        texts = doubts(replace(found, curve=curve, highest=0.9), cache["val"])
        assert any("the best weight_decay lies at an end of its grid" in text for text in texts) is said

    def test_single_rows(self, tmp_path: Path) -> None:
        write(
            tmp_path / "y.cache", "val", np.eye(3, 4, dtype=np.float32), np.arange(3), head=LinearHead(torch.eye(3, 4))
        )
        few = FeatureCache(tmp_path / "y.cache")
        found = chosen_head("tau_norm", few, cached_head(few, CPU), few["val"], RULE, Feeding(CPU), grid={}, seed=0)
        assert "3 of 3 classes have a single row in val" in doubts(found, few["val"])[-1]
