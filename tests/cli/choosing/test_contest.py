"""Every method's head by one rule: what is tuned and what is fitted, what is reused, what a failure leaves alone."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from rebalance import METHODS, LinearHead, Shots, evaluate_head, load_head
from rebalance_cli.caches import cached_head
from rebalance_cli.choosing.chosen import Rule
from rebalance_cli.choosing.contest import Contest, Entry, best
from rebalance_cli.choosing.kept_heads import KeptHeads
from rebalance_cli.judging.columns import GOALS
from rebalance_cli.judging.judged import Criteria

CPU = torch.device("cpu")
COUNTS = {"train": (40, 12, 5), "val": (6, 6, 6)}
PLAIN = Criteria(None, Shots(), None, None)
RULE = Rule(on=None, folds=None, metric="balanced", select="1se", allow_seen=False)
CALIBRATIONS = {name for name, line in METHODS.items() if line.on == "val"}
Make = Callable[..., Contest]


def written(path: Path, *, head: bool = True, seen: bool = True, draw: int = 0) -> FeatureCache:
    """A cache of three classes that overlap, with a joint head that favours the first."""
    joint = LinearHead(torch.eye(3, 5) + 0.1, torch.tensor([1.5, 0.0, -1.5])) if head else None
    for number, (split, counts) in enumerate(COUNTS.items()):
        random = np.random.default_rng([draw, number])
        labels = np.repeat(np.arange(3), counts)
        rows = 2 * np.eye(3, 5)[labels] + random.normal(size=(len(labels), 5))
        write(path, split, rows.astype(np.float32), labels, head=joint, seen=seen and split == "train")
    return FeatureCache(path)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A contest on a cache, by default one that is written once; its heads are kept in one folder."""

    def made(
        cache: FeatureCache | None = None, *, seed: int = 0, on: str = "val", folder: str = "heads", **rule: Any
    ) -> Contest:
        if cache is None:
            path = tmp_path / "x.cache"
            cache = FeatureCache(path) if path.exists() else written(path)
        (tmp_path / folder).mkdir(exist_ok=True)
        kept = KeptHeads(tmp_path / folder, cache, CPU)
        asked = replace(RULE, **rule)
        return Contest(cache, cached_head(cache, CPU), cache[on], asked, GOALS[asked.metric], PLAIN, kept, seed)

    return made


def run(contest: Contest, *names: str) -> dict[str, Entry]:
    return {entry.name: entry for entry in contest.entries(names)}


def head_of(entry: Entry) -> LinearHead:
    assert entry.head is not None, entry.why
    return entry.head


def same(one: Entry, two: Entry) -> bool:
    mine, theirs = head_of(one).tensors(), head_of(two).tensors()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a function in the place of a method's."""

    def put(name: str, function: Callable[..., LinearHead]) -> None:
        def method(head: Any, features: Any, labels: Any, *, weight_decay: float = 1.0, tau: float = 1.0) -> LinearHead:
            return function()

        monkeypatch.setitem(METHODS, name, replace(METHODS[name], function=method))

    return put


class TestMade:
    """What each head is made from."""

    def test_every_method_of_the_registry_is_tuned_or_fitted(self, make: Make) -> None:
        made = run(make(), *(name for name in METHODS if name != "temperature"))
        assert {name: entry.why for name, entry in made.items() if entry.why} == {}
        for name, entry in made.items():
            record, line = head_of(entry).record, METHODS[name]
            assert record["method"] == name
            if name == "joint":
                assert (entry.file, record.get("tuned_on")) == (None, None)
                continue
            assert record["fitted_on"] == line.on
            assert record.get("tuned_on") == (None if name in CALIBRATIONS else "val")
            assert ("tuned" in record) is (name not in CALIBRATIONS)
            assert entry.file is not None
            assert load_head(entry.file).record == record
            assert not entry.reused
            assert entry.seconds > 0

    def test_the_value_is_the_metric_on_the_judging_rows(self, make: Make) -> None:
        contest = make(metric="top1")
        for entry in run(contest, "crt", "tau_norm").values():
            report = evaluate_head(head_of(entry), contest.judging.features, contest.judging.labels)
            assert entry.value == report.top1

    def test_a_head_that_was_fitted_on_the_judging_rows_has_no_value(self, make: Make) -> None:
        made = run(make(), "vector_scaling", "temperature")
        assert made["vector_scaling"].value is None
        assert made["joint + temperature"].value is None

    def test_a_head_does_not_depend_on_which_others_are_made(self, make: Make) -> None:
        alone = run(make(), "lws")["lws"]
        among = run(make(folder="other"), "ncm", "crt", "lws", "lda")["lws"]
        assert alone.file is not None
        assert among.file is not None
        assert alone.file.name == among.file.name
        assert same(alone, among)

    def test_the_order_is_that_of_the_names_between_joint_and_what_goes_on_top(self, make: Make) -> None:
        made = list(run(make(), "temperature", "lda", "crt"))
        assert made[:3] == ["joint", "lda", "crt"]
        assert made[3].endswith(" + temperature")

    def test_folds_judge_what_is_fitted_by_heads_fitted_without_them(self, make: Make, tmp_path: Path) -> None:
        contest = make(written(tmp_path / "unseen.cache", seen=False), on="train", folds=3)
        made = run(contest, "crt", "tau_norm")
        crt, tau = head_of(made["crt"]).record, head_of(made["tau_norm"]).record
        assert (crt["tuned"]["folds"], crt["tuned_on"]) == (3, "train")
        assert made["crt"].value == crt["tuned"]["value"]
        assert ("folds" in tau["tuned"], tau["tuned_on"]) == (False, "train")

    def test_calibration_never_uses_rows_that_take_turns(self, make: Make, tmp_path: Path) -> None:
        contest = make(written(tmp_path / "unseen.cache", seen=False), on="train", folds=3)
        assert head_of(run(contest, "vector_scaling")["vector_scaling"]).record["fitted_on"] == "val"


class TestBest:
    """Which entry is chosen."""

    @pytest.mark.parametrize(
        ("values", "name"),
        [
            ((0.5, 0.7, 0.6), "b"),
            ((0.5, 0.7, 0.7), "b"),
            ((0.7, 0.7 + 1e-13, 0.1), "a"),
            ((None, 0.2, 0.3), "c"),
            ((None, None, 0.0), "c"),
            ((None, None, None), None),
        ],
    )
    def test_the_first_of_the_highest(self, values: tuple[float | None, ...], name: str | None) -> None:
        entries = [Entry(each, value=value) for each, value in zip("abc", values, strict=True)]
        found = best(entries)
        assert (found and found.name) == name

    def test_temperature_goes_on_top_of_it_and_changes_no_decision(self, make: Make) -> None:
        contest = make()
        made = run(contest, "crt", "tau_norm", "temperature")
        chosen = best(list(made.values()))
        assert chosen is not None
        top = head_of(made[f"{chosen.name} + temperature"])
        rows = torch.from_numpy(np.array(contest.judging.features))
        assert torch.equal(top(rows).argmax(1), head_of(chosen)(rows).argmax(1))
        torch.testing.assert_close(top(rows) * top.record["temperature"], head_of(chosen)(rows))
        assert (top.record["method"], top.record["fitted_on"]) == ("temperature", "val")

    def test_on_top_of_nothing_it_fails(self, make: Make, tmp_path: Path) -> None:
        made = run(make(written(tmp_path / "bare.cache", head=False)), "tau_norm", "temperature")
        assert made["temperature"].why == "there is no head to put it on top of"


class TestReused:
    """A head is taken from its file where all that it was made from is the same."""

    def test_the_second_time_nothing_is_made(self, make: Make, stub: Callable[..., None]) -> None:
        names = ("ncm", "crt", "tau_norm", "logit_adjust", "temperature")
        once = run(make(), *names)
        stub("crt", lambda: pytest.fail("made again"))
        twice = run(make(), *names)
        assert [entry.reused for entry in twice.values()] == [False, True, True, True, True, True]
        assert list(once) == list(twice)
        for name in once:
            assert same(once[name], twice[name])
            assert head_of(once[name]).record == head_of(twice[name]).record
            assert once[name].value == twice[name].value

    @pytest.mark.parametrize("other", [{"seed": 1}, {"metric": "top1"}, {"select": "best"}])
    def test_other_options_lie_beside(self, other: dict[str, Any], make: Make) -> None:
        first, second = run(make(), "ncm")["ncm"], run(make(**other), "ncm")["ncm"]
        assert not second.reused
        assert first.file != second.file
        assert run(make(), "ncm")["ncm"].reused
        assert run(make(**other), "ncm")["ncm"].reused

    def test_other_rows_of_the_same_specification_are_another_head(self, make: Make, tmp_path: Path) -> None:
        one, two = written(tmp_path / "one.cache"), written(tmp_path / "two.cache", draw=1)
        assert one.hash == two.hash
        assert run(make(one), "crt")["crt"].file != run(make(two), "crt")["crt"].file
        assert not run(make(two, folder="new"), "crt")["crt"].reused

    def test_another_version_or_grid_is_another_head(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        run(make(), "ncm")
        grid = {"transform": ("un", "l2n")}
        with monkeypatch.context() as patch:
            patch.setitem(METHODS, "ncm", replace(METHODS["ncm"], grid=grid))
            assert not run(make(), "ncm")["ncm"].reused
        monkeypatch.setattr("rebalance_cli.caches.versions", lambda: {"featurecache-rebalance": "99"})
        assert not run(make(), "ncm")["ncm"].reused

    def test_what_goes_on_top_is_that_of_its_own_base(self, make: Make, stub: Callable[..., None]) -> None:
        names = ("crt", "temperature")
        first = run(make(), *names)["crt + temperature"]
        other = run(make(select="best"), *names)["crt + temperature"]
        assert first.file != other.file

    def test_its_notes_are_said_again(self, make: Make, stub: Callable[..., None]) -> None:
        record = {"solver": {"converged": False, "passes": 7, "gradient": 0.5}}
        stub("crt", lambda: LinearHead(torch.eye(3, 5), record={"method": "crt", **record}))
        once, twice = (run(make(), "crt")["crt"] for _ in range(2))
        assert any("the solver stopped after 7 passes" in text for text in once.notes)
        assert (twice.reused, twice.notes) == (True, once.notes)


class TestFailures:
    """One method that fails is a reason; the others go on."""

    @pytest.mark.parametrize(
        ("error", "why"),
        [
            (ValueError("too\n  few rows"), "too few rows"),
            (MemoryError(), "MemoryError"),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "RuntimeError: DefaultCPUAllocator: can't"),
            (np.linalg.LinAlgError("Singular matrix"), "LinAlgError: Singular matrix"),
            (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
            (ValueError("\x1b[31mred" + "x" * 5000), "\ufffd[31mredx"),
        ],
    )
    def test_the_reason_is_one_line(
        self, error: Exception, why: str, make: Make, stub: Callable[..., None], capfd: pytest.CaptureFixture[str]
    ) -> None:
        def fail() -> LinearHead:
            raise error

        stub("crt", fail)
        made = run(make(), "ncm", "crt", "lda")
        assert made["crt"].why is not None
        assert made["crt"].why.startswith(why)
        assert made["crt"].why.isprintable()
        assert len(made["crt"].why) <= 320
        assert made["crt"].head is None
        assert made["ncm"].why is made["lda"].why is None
        assert capfd.readouterr().err == ""

    def test_an_interruption_is_none(self, make: Make, stub: Callable[..., None]) -> None:
        def stop() -> LinearHead:
            raise KeyboardInterrupt

        stub("crt", stop)
        made = make().entries(["ncm", "crt", "lda"])
        assert [next(made).name, next(made).name] == ["joint", "ncm"]
        with pytest.raises(KeyboardInterrupt):
            next(made)

    def test_without_a_joint_head(self, make: Make, tmp_path: Path) -> None:
        names = ("joint", "crt", "tau_norm", "lws", "logit_adjust", "over_smoothing")
        made = run(make(written(tmp_path / "bare.cache", head=False)), *names)
        assert made["joint"].why == "the cache has no head of its own"
        assert made["crt"].why is None
        for name in names[2:]:
            assert f"{name} changes a trained head and none was given" in str(made[name].why)

    def test_a_warning_is_a_note(self, make: Make, stub: Callable[..., None]) -> None:
        def warn() -> LinearHead:
            warnings.warn("slow\nto converge", RuntimeWarning, stacklevel=1)
            return LinearHead(torch.eye(3, 5), record={"method": "crt"})

        stub("crt", warn)
        assert "slow to converge" in run(make(), "crt")["crt"].notes

    def test_a_head_that_cannot_be_kept_is_judged_all_the_same(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(head: LinearHead, path: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        monkeypatch.setattr(LinearHead, "save", full)
        entry = run(make(), "ncm")["ncm"]
        assert (entry.why, entry.file) == (None, None)
        assert entry.value is not None
        assert "not kept" in entry.notes[-1]
        assert "No space left" in entry.notes[-1]
