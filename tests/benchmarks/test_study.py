"""The study's arithmetic, its plan, its processes, and all of it in small on the digits."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache import FeatureCache, write

READING = ("--arch", "convnet", "--image-size", "8", "--grey", "--augment", "none", "--batch-size", "32")


@pytest.fixture
def crew(study: Any, tmp_path: Path) -> Callable[..., Any]:
    """A crew whose files lie in tmp_path, and what it says."""

    def of(said: list[str] | None = None) -> Any:
        marks = study.parts("steps").Marks(tmp_path / "steps")
        marks.folder.mkdir(exist_ok=True)
        return study.parts("crew").Crew(marks, tmp_path / "steps.jsonl", (said if said is not None else []).append)

    return of


@pytest.fixture
def script(study: Any, tmp_path: Path) -> Callable[..., Any]:
    """A step that runs some Python: script(name, text, *after)."""

    def of(name: str, text: str, *after: str) -> Any:
        file = tmp_path / f"{name.replace('/', '-')}.py"
        file.write_text(text)
        return study.parts("steps").Step(name, ("python", str(file)), after)

    return of


def test_the_estimate_is_the_mean_recall_with_the_variance_of_its_definition(study: Any) -> None:
    estimates, random = study.parts("estimates"), np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [4, 7, 12])
    outcomes = random.random((3, len(labels))) < 0.6
    found = estimates.estimate(outcomes, labels, estimates.mean_over([True, False, True], labels))
    recalls = [[row[labels == k].mean() for k in (0, 2)] for row in outcomes]
    assert found.value == pytest.approx(np.mean(recalls))
    average = outcomes.mean(axis=0)
    assert found.rows == pytest.approx(sum(average[labels == k].var(ddof=1) / (4 * n) for k, n in ((0, 4), (2, 12))))
    assert found.repetitions == pytest.approx(np.mean(recalls, axis=1).var(ddof=1) / 3)
    assert 2 <= found.freedom <= 3 + 11 + 2  # Welch and Satterthwaite: between the least part's and all together
    assert found.half(0.99) > found.half(0.95) > 0


def test_a_class_of_one_row_takes_the_variance_of_the_others(study: Any) -> None:
    estimates = study.parts("estimates")
    labels, outcomes = np.array([0, 0, 0, 1, 1, 2]), np.array([[1, 0, 1, 0, 1, 1]])
    found = estimates.estimate(outcomes, labels, np.full(3, 1 / 3))
    one, two = np.var([1, 0, 1], ddof=1), np.var([0, 1], ddof=1)
    assert found.rows == pytest.approx((one / 3 + two / 2 + (2 * one + two) / 3) / 9)
    assert found.repetitions == 0
    with pytest.raises(ValueError, match="single test row"):
        estimates.estimate([[1, 0]], np.array([0, 1]), np.full(2, 0.5))
    with pytest.raises(ValueError, match="no class of the group"):
        estimates.mean_over([False, True], np.array([0, 0]))


def test_equal_heads_differ_by_nothing(study: Any) -> None:
    estimates, right = study.parts("estimates"), np.array([[True, False, True, True]])
    found = estimates.estimate(right.astype(float) - right, np.array([0, 0, 1, 1]), np.full(2, 0.5))
    assert (found.value, found.half()) == (0, 0)


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_the_intervals_hold_the_truth_as_often_as_they_say(study: Any, spread: float) -> None:
    """Ten classes of 8 to 60 rows, three repetitions that are better or worse as a whole.

    Of 1,500 intervals 95 % have a standard error of 0.6 points. The part that row and repetition share is counted
    twice, so that up to 100 % is to be expected where rows are drawn anew in every repetition, and here half the chance
    is a row's own; less than 93.5 % would be wrong.
    """
    estimates, random = study.parts("estimates"), np.random.default_rng(1)
    counts = np.linspace(8, 60, 10).astype(int)
    labels = np.repeat(np.arange(10), counts)
    chance = np.linspace(0.5, 0.85, 10)
    held = 0
    for _ in range(1500):
        # Half of the spread is the row's, which all repetitions share, half each repetition's own.
        hard = random.choice([-0.12, 0.12], len(labels))
        shift = spread * random.standard_normal((3, 1))
        outcomes = random.random((3, len(labels))) < chance[labels] + hard + shift
        found = estimates.estimate(outcomes, labels, np.full(10, 0.1))
        held += found.low() <= chance.mean() <= found.high()
    assert 0.935 <= held / 1500 <= 0.997


def test_the_plan_is_the_whole_design_in_an_order_that_can_be_run(study: Any, made: Any, tmp_path: Path) -> None:
    planning = study.parts("planning")
    splits = {"train": "idx:a:train", "test": "idx:a:test"}
    small = made("small", splits=splits, training=("--grey", "--epochs", "9", "--lr", "0.3"), tuning=("--epochs", "2"))
    steps = planning.plan(tmp_path, [small, made("ready", cache=tmp_path / "ready.cache")], 2)
    names = [step.name for step in steps]
    assert len({*names}) == len(names) == 2 * (4 * 3 + 3 * 2) + 2 * 5
    for i, step in enumerate(steps):
        assert {*step.after} <= {*names[:i]}
    lines = {step.name: step.line for step in steps}
    assert f"--split val=idx:a:train:only={tmp_path}/runs/small/sqrt-1.val.txt" in lines["small/sqrt-1/extract"]
    trunk = lines["small/trunk-1/train"]
    assert "--epochs 2" in trunk
    assert not re.search("--epochs 9|--lr", trunk)
    assert "--grey" in trunk
    assert f"--init run:{tmp_path}/runs/small/instance-1.pt --fresh-classifier --freeze none" in trunk
    assert "lda" in lines["small/instance-0/compare"]
    assert "lda" not in lines["small/class-0/compare"]


def test_rows_drawn_anew_are_the_same_rows(study: Any, tmp_path: Path) -> None:
    random, sizes = np.random.default_rng(0), {"train": [9, 5, 3], "val": [2, 2, 1], "test": [2, 2, 2]}
    for name, counts in sizes.items():
        labels = np.repeat([0, 1, 2], counts)
        ids = [f"{name}{i}" for i in range(len(labels))]
        write(tmp_path / "a.cache", name, random.random((len(labels), 4)), labels, sample_ids=ids)
    redraw = study.parts("redraw").redraw
    for seed in (0, 1):
        redraw(tmp_path / "a.cache", tmp_path / str(seed), seed)
    drawn = [{name: dict(np.load(tmp_path / str(seed) / f"{name}.npz")) for name in sizes} for seed in (0, 1)]
    cache = FeatureCache(tmp_path / "a.cache")
    own = {key: row for name in sizes for key, row in zip(cache[name].sample_id, cache[name].features, strict=True)}
    for parts in drawn:
        assert [np.bincount(parts[name]["labels"]).tolist() for name in sizes] == [*sizes.values()]
        assert {key for part in parts.values() for key in part["sample_id"]} == own.keys()
        for part in parts.values():
            np.testing.assert_array_equal(part["features"], [own[key] for key in part["sample_id"]])
        np.testing.assert_array_equal(parts["test"]["sample_id"], cache["test"].sample_id)
    assert {*drawn[0]["val"]["sample_id"]} != {*drawn[1]["val"]["sample_id"]}


def test_a_step_that_fails_takes_only_those_that_need_it(crew: Any, script: Any, tmp_path: Path) -> None:
    said: list[str] = []
    steps = [script("a/x-0/one", "raise ValueError('too bad')"), script("a/x-0/two", "print(1)", "a/x-0/one"),
             script("a/y-0/one", "print(2)")]  # fmt: skip
    assert crew(said).run(steps, 2) == {"a/x-0/one", "a/x-0/two"}
    assert any("FAILED" in line and "ValueError: too bad" in line for line in said)
    assert crew().marks.printed(steps[2]) == 2
    rows = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert {row["name"]: row["rc"] for row in rows} == {"a/x-0/one": 1, "a/y-0/one": 0}
    steps[0] = script("a/x-0/one", "print(3)")
    said.clear()
    assert not crew(said).run(steps, 1)
    assert not any("a/y-0/one" in line for line in said)  # it was done


def test_a_step_whose_process_is_killed_begins_again(study: Any, crew: Any, script: Any, tmp_path: Path) -> None:
    half = tmp_path / "half"
    text = f"""
import os, pathlib, signal
half, killed = pathlib.Path({str(half)!r}), pathlib.Path({str(tmp_path / "killed")!r})
half.mkdir()
if not killed.exists():
    killed.touch()
    os.kill(os.getpid(), signal.SIGKILL)
print("[]")
"""
    step = script("a/x-0/one", text)
    step = study.parts("steps").Step(step.name, step.words, fresh=(half,))
    said: list[str] = []
    assert not crew(said).run([step], 1)
    assert [line for line in said if "killed" in line]
    assert half.is_dir()


def test_what_builds_on_a_changed_step_is_run_again(study: Any, crew: Any, script: Any) -> None:
    one, two = script("a/x-0/one", "print(1)"), script("a/x-0/two", "print(2)", "a/x-0/one")
    other = script("a/y-0/one", "print(3)")
    assert not crew().run([one, two, other], 1)
    changed = study.parts("steps").Step(one.name, (*one.words, "again"))
    assert crew().marks.undone([one, two, other]) == []
    assert crew().marks.undone([changed, two, other]) == [changed, two]


def test_the_whole_study_in_small(
    study: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One repetition of the design on 258 digits, and features of theirs that are ready."""
    later = {"lda", "temperature"}
    planning = study.parts("planning")
    names = tuple(name for name in planning.METHODS if name not in {*planning.CLASSIFIERS, *later})
    monkeypatch.setattr(planning, "LEFT_OUT", {"small": names, "ready": names})
    monkeypatch.setattr(study.parts("page"), "LEFT_OUT", planning.LEFT_OUT)
    splits = {name: f"digits:{name}" for name in ("train", "val", "test")}
    small = made("small", splits=splits, training=(*READING, "--epochs", "2"), tuning=(*READING, "--epochs", "1"))
    ready = made("ready", cache=tmp_path / "work/runs/small/instance-0.cache")
    sets = study.parts("sets").SETS
    monkeypatch.setitem(sets, "small", lambda work: small)
    monkeypatch.setitem(sets, "ready", lambda work: ready)

    def run(names: str, *words: str) -> None:
        words = ("--work", str(tmp_path / "work"), "--into", str(tmp_path), "--sets", names, "--seeds", "1", *words)
        monkeypatch.setattr(sys, "argv", ["study.py", *words])
        with pytest.raises(SystemExit) as stop:
            study.main()
        assert stop.value.code == 0, capsys.readouterr().out

    run("small,ready", "--workers", "1", "--only", "steps")
    run("small,ready", "--only", "report")
    page = (tmp_path / "docs/study.md").read_text()
    for title, picture in re.findall(r"!\[(.*?)\]\((.*?)\)", page):
        assert title
        assert (tmp_path / "docs" / picture).read_text().startswith("<?xml")
    drawn = {path.stem for path in (tmp_path / "docs/figures/study").glob("*.png")}
    assert {"matrix-small", "methods-small", "tuning-small", "norms-small", "methods-ready"} <= drawn
    assert "matrix-ready" not in drawn
    assert "$" not in page
    numbers = json.loads((tmp_path / "benchmarks/results/study.json").read_text())
    assert numbers["undone"] == []
    cells = numbers["sets"]["small"]["methods"]
    assert {*cells} == {*planning.SAMPLERS}
    assert {*planning.CLASSIFIERS} <= cells["class"].keys()
    cache = FeatureCache(tmp_path / "work/runs/small/class-0.cache")["test"]
    right = cache.logits.argmax(axis=1) == cache.labels
    recalls = [right[cache.labels == k].mean() for k in range(10)]
    assert cells["class"]["joint"]["all"]["value"] == pytest.approx(np.mean(recalls))
    words = {name: each["word"] for name, each in numbers["sets"]["small"]["verdicts"].items()}
    assert words.pop("norms") in ("confirmed", "contradicted", "cannot be told")
    assert {*words.values()} == {"cannot be told"}  # one repetition says nothing of the next one
    assert "every finding but that on the norms cannot be told" in " ".join(page.split())
    assert "4 samplers × 1 repetition are" in page
    assert max(len(line) for line in page.splitlines() if line[:1] not in "|#!") <= 120
