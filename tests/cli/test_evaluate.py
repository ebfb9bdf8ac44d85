"""Judging: figures, groups, stars, the figure, strangers' names, and what is refused."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache, write
from rebalance import LinearHead, Shots, evaluate_head, load_head

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def test_the_best_comes_first(project: Any, answer: Answer) -> None:
    heads = [project.heads[name] for name in ("lws", "crt", "ncm")]
    found = answer("evaluate", project.cache, *heads)
    assert sorted(head["name"] for head in found["heads"]) == ["crt", "joint", "lws", "ncm"]
    balanced = [head["balanced"] for head in found["heads"]]
    assert balanced == sorted(balanced, reverse=True)
    assert (found["split"], found["rows"]) == ("test", 24)
    assert found["shots"] == {"few": 20, "many": 100, "closed": False}
    (crt,) = [head for head in found["heads"] if head["name"] == "crt"]
    assert crt["record"] == load_head(project.heads["crt"]).record
    assert crt["file"] == str(project.heads["crt"])


def test_the_command_is_the_library(project: Any, answer: Answer) -> None:
    cache = FeatureCache(project.cache)
    val, head = cache["val"], load_head(project.heads["crt"])
    shots = Shots(6, 20, closed=True)
    expected = evaluate_head(head, val.features, val.labels, cache.counts, shots=shots, replicates=30, seed=7).to_dict()
    words = ("--split", "val", "--shots", "6,20", "--few-includes-bound", "--replicates", 30, "--seed", 7)
    found = answer("evaluate", project.cache, project.heads["crt"], *words)
    (crt,) = [each for each in found["heads"] if each["name"] == "crt"]
    assert {key: crt[key] for key in expected} == json.loads(json.dumps(expected))
    assert found["shots"]["closed"] is True


def test_the_table(project: Any, done: Run, answer: Answer) -> None:
    words = ("evaluate", project.cache, project.heads["crt"], "--shots", "5,20", "--replicates", 0)
    lines = done(*words).stdout.splitlines()
    accuracy = ("top1", "balanced", "many", "medium", "few", "worst", "macro_f1")
    errors = ("ece", "ece_many", "ece_medium", "ece_few", "ece_equal_mass")
    rule = "test: 24 labelled rows; many > 20, medium 5..20, few < 5 training rows"
    assert (lines[4], lines[10]) == (rule, rule)
    for i, head in enumerate(answer(*words)["heads"]):
        cells = lines[2 + i].split()
        assert cells[:8] == [head["name"], *(f"{100 * head[name]:.1f}" for name in accuracy)]
        gain = None if head["name"] == "joint" else 100 * head["difference"]["balanced"]["value"]
        assert cells[8:] == ["–" if gain is None else f"{gain:+.1f}"]
        cells = lines[8 + i].split()
        assert cells[:3] == [head["name"], f"{head['nll']:.3f}", f"{head['brier']:.3f}"]
        assert cells[3:] == [*(f"{100 * head[name]:.1f}" for name in errors), f"{100 * head['ece_classwise']:.2f}"]


def test_intervals_are_drawn_unless_told_otherwise(project: Any, done: Run, answer: Answer) -> None:
    text = done("evaluate", project.cache, project.heads["crt"]).stdout
    assert "± is half of the 95 % interval, from 1000 draws" in text
    assert "±" not in done("evaluate", project.cache, project.heads["crt"], "--replicates", 0).stdout
    crt = answer("evaluate", project.cache, project.heads["crt"])["heads"][0]
    assert crt["name"] == "crt"
    low, high = crt["intervals"]["balanced"]
    assert low <= crt["balanced"] <= high
    assert crt["difference"]["balanced"]["low"] <= crt["difference"]["balanced"]["value"]


def test_a_target_prior_weights_the_rows(project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
    (tmp_path / "prior.csv").write_text("class,share\nfox,1\ncat,0\ndog,0\neel,0\n", "utf-8")
    words = ("evaluate", project.cache, "--replicates", 0, "--target-prior")
    found = answer(*words, tmp_path / "prior.csv")
    assert found["target_prior"] == "prior.csv"
    (joint,) = found["heads"]
    assert joint["top1"] == pytest.approx(joint["recall"][3])  # only the rows of fox count
    counts = FeatureCache(project.cache).counts
    assert answer(*words, "train")["heads"][0]["top1"] == pytest.approx(
        np.array(joint["recall"]) @ counts / counts.sum()
    )
    assert "; classes weighted as backward:50\n" in done(*words, "backward:50").stdout


def test_costs(project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
    np.savetxt(tmp_path / "costs.csv", 3 * (1 - np.eye(4)), delimiter=",")
    words = ("evaluate", project.cache, "--replicates", 0, "--costs", tmp_path / "costs.csv")
    (joint,) = answer(*words)["heads"]
    assert joint["cost"] == pytest.approx(3 * (1 - joint["top1"]))
    assert joint["minimum_risk_cost"] == pytest.approx(joint["cost"])  # the likeliest class has the least risk
    assert "of least expected cost" in done(*words).stdout


def test_predictions_and_figures(project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
    words = ("evaluate", project.cache, project.heads["crt"], "--shots", "5,20", "--replicates", 0)
    files = ("--predictions", tmp_path / "rows.csv", "--figures", tmp_path / "figures")
    found = answer(*words, *files)
    assert found["predictions"] == str(tmp_path / "rows.csv")
    assert {Path(path).name for path in found["figures"]} == {path.name for path in (tmp_path / "figures").iterdir()}
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    (crt,) = [each for each in found["heads"] if each["name"] == "crt"]
    assert [row["correct_crt"] for row in rows].count("true") == round(24 * crt["top1"])
    assert [row["id"] for row in rows] == FeatureCache(project.cache)["test"].sample_id.tolist()
    text = done(*words, *files[:2]).stdout
    assert text.endswith(f"predictions: {tmp_path / 'rows.csv'}\n")


def test_a_group_without_classes_is_a_dash(project: Any, done: Run, answer: Answer) -> None:
    (joint,) = answer("evaluate", project.cache)["heads"]  # no class has more than 100 rows
    assert joint["many"] is None
    row = re.split(r"  +", done("evaluate", project.cache).stdout.splitlines()[2])
    assert row[3] == "–"  # behind top-1 and balanced


def test_equal_names_are_told_apart(project: Any, tmp_path: Path, answer: Answer) -> None:
    other = tmp_path / "crt.safetensors"
    shutil.copy(project.heads["lws"], other)
    shutil.copy(project.heads["ncm"], tmp_path / "joint.safetensors")
    found = answer("evaluate", project.cache, project.heads["crt"], other, tmp_path / "joint.safetensors")
    methods = {head["name"]: head["record"]["method"] for head in found["heads"]}
    assert methods == {"joint": "joint", "crt": "crt", "crt-2": "lws", "joint-2": "ncm"}


@pytest.fixture(scope="module")
def tuned(project: Any, tmp_path_factory: pytest.TempPathFactory, done: Run) -> Path:
    """A head tuned on val."""
    out = tmp_path_factory.mktemp("tuned") / "tuned.safetensors"
    done("tune", "tau_norm", project.cache, "--out", out)
    return out


def test_a_refitted_head_recognises_the_rare_classes_that_the_joint_one_misses(project: Any, answer: Answer) -> None:
    crt, joint = answer("evaluate", project.cache, project.heads["crt"], "--shots", "5,20")["heads"]
    assert joint["few"] < 0.5 < crt["few"]  # two training images of a class that is plain to see


def marks(found: dict[str, Any]) -> dict[str, list[str]]:
    """The marks of every head."""
    return {head["name"]: head["marks"] for head in found["heads"]}


class TestMarks:
    """A star where the reported rows made the head."""

    def test_none_on_test(self, tuned: Path, project: Any, done: Run, answer: Answer) -> None:
        words = ("evaluate", project.cache, tuned, project.heads["crt"])
        assert [head["marks"] for head in answer(*words)["heads"]] == [[], [], []]
        assert "*" not in done(*words).stdout

    def test_tuned_on_the_reported_split(self, tuned: Path, project: Any, done: Run, answer: Answer) -> None:
        words = ("evaluate", project.cache, tuned, project.heads["crt"], "--split", "val")
        assert marks(answer(*words)) == {"joint": [], "tuned": ["tuned on val"], "crt": []}
        text = done(*words).stdout
        assert "\ntuned * " in text
        assert "\n* tuned: tuned on val; its figures are optimistic\n" in text
        assert text.count("*") == 3  # in both tables, and below

    def test_tuned_on_reported_rows_of_another_name(
        self, tuned: Path, project: Any, tmp_path: Path, done: Run, answer: Answer
    ) -> None:
        cache = shutil.copytree(project.cache, tmp_path / "c")
        done("extract", cache, "--model", f"run:{project.model}", "--split", f"all={project.photos / 'val'}")
        found = answer("evaluate", cache, tuned, "--split", "all", "--replicates", 0)
        assert marks(found) == {"joint": [], "tuned": ["tuned on val, which holds rows of all"]}

    def test_fitted_on_the_reported_split(self, project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
        done("fit", "crt", project.cache, "--on", "val", "--out", tmp_path / "h.safetensors")
        found = answer("evaluate", project.cache, tmp_path / "h.safetensors", "--split", "val")
        assert marks(found) == {"joint": [], "h": ["fitted on val"]}

    def test_rows_the_backbone_saw(self, tuned: Path, project: Any, answer: Answer) -> None:
        found = answer("evaluate", project.cache, tuned, project.heads["crt"], "--split", "train")
        saw = "the backbone was trained on train"
        assert marks(found) == {"joint": [saw], "tuned": [saw], "crt": ["fitted on train", saw]}

    def test_tuned_on_rows_the_backbone_saw(self, project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
        done("tune", "tau_norm", project.cache, "--on", "train", "--allow-seen", "--out", tmp_path / "h.safetensors")
        found = answer("evaluate", project.cache, tmp_path / "h.safetensors", "--replicates", 0)
        assert marks(found) == {"joint": [], "h": ["tuned on rows the backbone was trained on"]}


class TestFigure:
    """Recall per class and weight norms, as a file."""

    @pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
    def test_its_formats(self, ending: str, start: bytes, project: Any, tmp_path: Path, done: Run) -> None:
        path = tmp_path / f"f.{ending}"
        text = done("evaluate", project.cache, project.heads["crt"], "--figure", path).stdout
        assert path.read_bytes().startswith(start)
        assert text.endswith(f"figure: {path}\n")

    def test_it_is_named_in_the_json(self, project: Any, tmp_path: Path, answer: Answer) -> None:
        assert answer("evaluate", project.cache, "--figure", tmp_path / "f.png")["figure"] == str(tmp_path / "f.png")

    def test_a_format_or_a_folder_that_is_not_there(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        refused("evaluate", project.cache, "--figure", tmp_path / "f.nosuch", holds=("nosuch", "png"))
        refused("evaluate", project.cache, "--figure", tmp_path / "nowhere" / "f.png", holds=("nowhere",))

    def test_it_needs_training_counts(self, project: Any, tmp_path: Path, done: Run, refused: Refused) -> None:
        words = ("--model", f"run:{project.model}", "--split", f"test={project.photos / 'test'}")
        done("extract", tmp_path / "x.cache", *words)
        refused("evaluate", tmp_path / "x.cache", "--figure", tmp_path / "f.png", holds=("train",))


def test_without_training_rows_there_are_no_groups(project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
    words = ("--model", f"run:{project.model}", "--split", f"test={project.photos / 'test'}")
    done("extract", tmp_path / "x.cache", *words)
    (joint,) = answer("evaluate", tmp_path / "x.cache")["heads"]
    assert (joint["many"], joint["medium"], joint["few"]) == (None, None, None)
    assert any("no split called train" in note for note in answer("evaluate", tmp_path / "x.cache")["notes"])
    with_train = answer("evaluate", project.cache)["heads"][0]
    assert joint["balanced"] == with_train["balanced"]


def test_strangers_names_never_reach_the_terminal(tmp_path: Path, run: Run) -> None:
    names = ["\x1b[31mred\x1b[0m", "rtl\u202egod", "price $5_{x", "two\nlines"]
    head = LinearHead(torch.eye(4))
    write(tmp_path / "x.cache", "train", np.eye(4, dtype=np.float32), np.arange(4), class_names=names, head=head)
    head.with_record(note="\x1b[2J").save(tmp_path / "\x1b[31mh.safetensors")
    words = ("evaluate", tmp_path / "x.cache", tmp_path / "\x1b[31mh.safetensors", "--split", "train")
    result = run(*words, "--figure", tmp_path / "f.png")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "\n\ufffd[31mh " in result.stdout
    assert all(line.isprintable() for line in result.stdout.split("\n"))


class TestRefused:
    """Heads and splits that do not belong to the cache."""

    def test_a_split_that_is_not_there(self, project: Any, refused: Refused) -> None:
        refused("evaluate", project.cache, "--split", "nosuch", holds=("'nosuch'", "train, val, test"))

    def test_a_head_of_another_cache(
        self, project: Any, models: Path, tmp_path: Path, done: Run, refused: Refused
    ) -> None:
        head, test = project.heads["crt"], ("--split", f"test={project.photos / 'test'}")
        same, narrow = tmp_path / "same.cache", tmp_path / "narrow.cache"
        done("extract", same, "--model", f"run:{project.model}", "--dtype", "float32", *test)
        refused("evaluate", same, head, holds=(head, "another model or extraction"))
        done("extract", narrow, "--model", f"file:{models}:tiles", "--image-size", 16, *test)
        refused("evaluate", narrow, head, holds=(head, "4 classes on 64 features", "4 classes on 12 features"))

    def test_what_is_no_head(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        for path, says in (
            (tmp_path / "nowhere.safetensors", "no such head"),
            (tmp_path, "no such head"),
            (project.model, "not a readable safetensors file"),
        ):
            refused("evaluate", project.cache, path, holds=(path, says))

    def test_no_head_at_all(self, tmp_path: Path, refused: Refused) -> None:
        write(tmp_path / "x.cache", "test", np.eye(3, dtype=np.float32), np.arange(3))
        refused("evaluate", tmp_path / "x.cache", holds=("no head",))

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("0.2 0.2 0.2 0.2", "sum to 0.8; expected 1"),
            ("1 -1 0.5 0.5", "class 1 is -1"),
            ("0.5 0.5", "2 numbers; expected 4"),
        ],
    )
    def test_a_bad_target_prior(self, text: str, says: str, project: Any, tmp_path: Path, refused: Refused) -> None:
        (tmp_path / "prior.txt").write_text(text, "utf-8")
        refused("evaluate", project.cache, "--target-prior", tmp_path / "prior.txt", holds=("prior.txt", says))

    @pytest.mark.parametrize("text", ["1,2\n3,4\n", "a,b,c,d\n" * 4, "0,0,0,nan\n" * 4])
    def test_bad_costs(self, text: str, project: Any, tmp_path: Path, refused: Refused) -> None:
        (tmp_path / "costs.csv").write_text(text, "utf-8")
        refused("evaluate", project.cache, "--costs", tmp_path / "costs.csv", holds=("costs.csv", "expected"))

    def test_a_split_without_labels(self, tmp_path: Path, refused: Refused) -> None:
        write(tmp_path / "x.cache", "test", np.eye(3, dtype=np.float32), np.full(3, -1), head=LinearHead(torch.eye(3)))
        refused("evaluate", tmp_path / "x.cache", holds=("no row of test has a label",))

    def test_a_head_whose_logits_are_too_large(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        LinearHead(torch.full((4, 64), 3e38)).save(tmp_path / "huge.safetensors")
        refused(
            "evaluate", project.cache, tmp_path / "huge.safetensors", holds=("head huge on test", "NaN or infinity")
        )

    @pytest.mark.parametrize("shots", ["100,20", "a,b", "20", "-1,5"])
    def test_bad_shots_are_wrong_usage(self, shots: str, project: Any, misused: Refused) -> None:
        misused("evaluate", project.cache, "--shots", shots, holds=(shots,))
