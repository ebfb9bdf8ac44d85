"""Heads judged on a split of a cache: the criteria, the reports, the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from rebalance import LinearHead, Shots, evaluate_head, tune
from rebalance.report import gallery
from rebalance_cli.judging import judged
from rebalance_cli.judging.judged import criteria, finish, judge, open_heads, payload_of
from rebalance_cli.judging.options import Judging
from rebalance_cli.options import Common

PLAIN = Judging(None, None, "test", (5, 20), False, None, None, 20, False)
COMMON = Common(False, 3, "cpu")


def make_cache(path: Path, *, train: bool = True) -> FeatureCache:
    """A cache of six classes whose joint head never says the last three."""
    rng = np.random.default_rng(0)
    counts = (30, 20, 10, 6, 4, 3)
    head = LinearHead(4 * torch.eye(6), torch.tensor([0.0, 0, 0, -6, -6, -6]))
    for split, rows in (("train", counts), ("val", (8,) * 6), ("test", (12,) * 6)):
        labels = np.repeat(np.arange(6), rows)
        features = np.eye(6, dtype=np.float32)[labels] + rng.normal(0, 0.4, (len(labels), 6)).astype(np.float32)
        if split != "train" or train:
            write(path, split, features, labels, head=head, class_names=[f"class {k}" for k in range(6)])
    return FeatureCache(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    return make_cache(tmp_path_factory.mktemp("judged") / "x.cache")


@pytest.fixture(scope="module")
def no_train(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    """The same without a split called train."""
    return make_cache(tmp_path_factory.mktemp("judged") / "y.cache", train=False)


@pytest.fixture(scope="module")
def heads(cache: FeatureCache) -> dict[str, LinearHead]:
    """The joint head, one that was tuned on val, and one that knows the classes."""
    joint, val = LinearHead(*cache.head, record={"method": "joint"}), cache["val"]
    tuned = tune("tau_norm", joint, val.features, val.labels).head.with_record(tuned_on="val")
    return {"joint": joint, "tuned": tuned, "even": LinearHead(4 * torch.eye(6))}


class TestCriteria:
    """What the options mean for a cache."""

    def test_plain(self, cache: FeatureCache) -> None:
        by = criteria(cache, PLAIN)
        assert by.counts is not None
        assert by.counts.tolist() == [30, 20, 10, 6, 4, 3]
        assert (by.shots, by.target_prior, by.costs) == (Shots(5, 20), None, None)

    def test_given(self, cache: FeatureCache, tmp_path: Path) -> None:
        np.savetxt(tmp_path / "c.csv", 1 - np.eye(6), delimiter=",")
        by = criteria(cache, replace(PLAIN, costs=tmp_path / "c.csv", target_prior="train", few_includes_bound=True))
        assert by.costs is not None
        assert by.target_prior is not None
        assert (by.costs == 1 - np.eye(6)).all()
        assert by.target_prior.tolist() == pytest.approx((np.array([30, 20, 10, 6, 4, 3]) / 73).tolist())
        assert by.shots == Shots(5, 20, closed=True)

    def test_without_training_rows(self, no_train: FeatureCache) -> None:
        assert criteria(no_train, PLAIN).counts is None
        with pytest.raises(ValueError, match=r"--target-prior backward:9: .* no training rows"):
            criteria(no_train, replace(PLAIN, target_prior="backward:9"))

    @pytest.mark.parametrize("text", ["1,2\n3,4\n", "x" * 9, "1,1,1,1,1,1\n" * 5 + "1,1,1,1,1,nan\n"])
    def test_bad_costs(self, text: str, cache: FeatureCache, tmp_path: Path) -> None:
        (tmp_path / "c.csv").write_text(text, "utf-8")
        with pytest.raises(ValueError, match=r"c\.csv"):
            criteria(cache, replace(PLAIN, costs=tmp_path / "c.csv"))

    def test_cones_of_a_class_that_is_not_there(self, cache: FeatureCache) -> None:
        with pytest.raises(ValueError, match="--cones: no class cat"):
            criteria(cache, replace(PLAIN, cones="0,1,cat"))

    def test_a_split_that_is_not_there(self, cache: FeatureCache) -> None:
        with pytest.raises(ValueError, match="no split 'nosuch'"):
            criteria(cache, replace(PLAIN, split="nosuch"))


def test_the_reports_are_the_library_s(cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
    rows = cache["test"]
    found = judge(cache, heads, replace(PLAIN, target_prior="uniform"), COMMON)
    assert list(found) == ["joint", "tuned", "even"]
    for name, head in heads.items():
        expected = evaluate_head(
            head, rows.features, rows.labels, cache.counts,
            shots=Shots(5, 20), target_prior=np.ones(6), replicates=20, seed=3,
        )  # fmt: skip
        assert found[name].to_dict() == expected.to_dict()
    assert found["even"].difference(found["joint"])["balanced"].value > 0.3


def test_other_seeds_draw_otherwise(cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
    one, same, other = (judge(cache, heads, PLAIN, Common(False, seed, "cpu"))["even"].intervals for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_a_split_without_labels(tmp_path: Path, heads: dict[str, LinearHead]) -> None:
    write(tmp_path / "x.cache", "test", np.eye(6, dtype=np.float32), np.full(6, -1), class_names=list("abcdef"))
    with pytest.raises(ValueError, match="no row of test has a label, so nothing can be judged"):
        judge(FeatureCache(tmp_path / "x.cache"), heads, PLAIN, COMMON)


def test_bad_logits_name_the_head(cache: FeatureCache) -> None:
    huge = LinearHead(torch.full((6, 6), 3e38))
    with pytest.raises(ValueError, match=r"head \ufffdhuge on test: logits row 0 .* NaN or infinity") as refusal:
        judge(cache, {"\x1bhuge": huge}, PLAIN, COMMON)
    assert str(refusal.value).isprintable()


class TestOpenHeads:
    """The heads of a cache and of files, by name."""

    def test_joint_first_and_equal_names_apart(self, cache: FeatureCache, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        files = [tmp_path / "a.safetensors", tmp_path / "other" / "a.safetensors", tmp_path / "joint.safetensors"]
        for file in files:
            LinearHead(torch.eye(6)).save(file)
        heads, paths = open_heads(cache, files, COMMON)
        assert list(heads) == ["joint", "a", "a-2", "joint-2"]
        assert list(paths.values()) == [None, *files]
        assert heads["joint"].record["method"] == "joint"

    def test_names_are_printable(self, cache: FeatureCache, tmp_path: Path) -> None:
        LinearHead(torch.eye(6)).save(tmp_path / "\x1b[31m.safetensors")
        assert list(open_heads(cache, [tmp_path / "\x1b[31m.safetensors"], COMMON)[0]) == ["joint", "\ufffd[31m"]

    def test_a_cache_without_a_head(self, tmp_path: Path) -> None:
        write(tmp_path / "x.cache", "test", np.eye(3, dtype=np.float32), np.arange(3))
        assert open_heads(FeatureCache(tmp_path / "x.cache"), [], COMMON) == ({}, {})


class TestFinish:
    """The files that were asked for."""

    @staticmethod
    def finished(
        cache: FeatureCache, heads: dict[str, LinearHead], options: Judging, *, page: bool = False
    ) -> tuple[dict[str, Any], list[Any]]:
        reports = judge(cache, heads, options, COMMON)
        payload = payload_of(cache, cache.path, heads, reports, options, COMMON, {})
        drawn = finish(payload, cache, heads, reports, options, COMMON, before="joint", after="even", page=page)
        return payload, drawn

    def test_none_are_asked_for(self, cache: FeatureCache, heads: dict[str, LinearHead], tmp_path: Path) -> None:
        payload, drawn = self.finished(cache, heads, PLAIN)
        assert not {"predictions", "figures"} & payload.keys()
        assert drawn == []

    def test_a_page_gets_its_drawings(self, cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
        payload, drawn = self.finished(cache, heads, PLAIN, page=True)
        assert "figures" not in payload
        names = [drawing.name for drawing in drawn]
        assert {"recall", "norms", "tau_curve", "trade_off"} <= set(names)
        assert len(set(names)) == len(names)

    def test_figures(
        self, cache: FeatureCache, heads: dict[str, LinearHead], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = gallery.gallery
        monkeypatch.setattr(
            gallery, "gallery", lambda *a, **b: replace(found := whole(*a, **b), drawings=found.drawings[:2])
        )
        payload, drawn = self.finished(cache, heads, replace(PLAIN, figures=tmp_path / "f"))
        expected = sorted(f"{drawing.name}.{ending}" for drawing in drawn for ending in ("svg", "png", "csv"))
        assert len(expected) == 6
        assert sorted(path.name for path in (tmp_path / "f").iterdir()) == expected
        assert sorted(payload["figures"]) == [str(tmp_path / "f" / name) for name in expected]

    def test_cones_of_classes_that_are_asked_for(self, cache: FeatureCache, heads: dict[str, LinearHead]) -> None:
        _, drawn = self.finished(cache, heads, replace(PLAIN, cones="class 5,0,class 2"), page=True)
        (cones,) = [drawing for drawing in drawn if drawing.name == "cones"]
        assert {row[3] for row in cones.rows if row[0] == "row"} == {0, 2, 5}

    def test_predictions_come_in_the_order_of_the_table(
        self, cache: FeatureCache, heads: dict[str, LinearHead], tmp_path: Path
    ) -> None:
        payload, _ = self.finished(cache, heads, replace(PLAIN, predictions=tmp_path / "p.csv"))
        assert payload["predictions"] == str(tmp_path / "p.csv")
        first, *rest = (tmp_path / "p.csv").read_text("utf-8").splitlines()
        assert len(rest) == 72
        assert first.split(",")[2::3] == [f"prediction_{head['name']}" for head in payload["heads"]]
        assert first.split(",")[-1] == "correct_joint"  # the worst

    def test_only_the_first_of_several_processes_writes(
        self, cache: FeatureCache, heads: dict[str, LinearHead], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(judged, "first", lambda: False)
        self.finished(cache, heads, replace(PLAIN, predictions=tmp_path / "p.csv", figures=tmp_path / "f"))
        assert list(tmp_path.iterdir()) == []

    def test_without_training_rows(self, no_train: FeatureCache, heads: dict[str, LinearHead]) -> None:
        _, drawn = self.finished(no_train, heads, PLAIN, page=True)
        assert "reliability" in {drawing.name for drawing in drawn}
        assert "recall" not in {drawing.name for drawing in drawn}
