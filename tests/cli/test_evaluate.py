"""Judging: figures, groups, stars, the figure, strangers' names, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache, write
from rebalance import LinearHead, evaluate, load_head
from rebalance.classes import Shots

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def test_the_joint_head_comes_first_then_the_others_as_given(project: Any, answer: Answer) -> None:
    heads = [project.heads[name] for name in ("lws", "crt", "ncm")]
    found = answer("evaluate", project.cache, *heads)
    assert [head["name"] for head in found["heads"]] == ["joint", "lws", "crt", "ncm"]
    assert (found["split"], found["rows"], found["shots"]) == ("test", 24, {"few": 20, "many": 100})
    assert found["heads"][2]["record"] == load_head(project.heads["crt"]).record


def test_the_command_is_the_library(project: Any, answer: Answer) -> None:
    cache = FeatureCache(project.cache)
    val, head = cache["val"], load_head(project.heads["crt"])
    report = evaluate(head(val.features), val.labels, cache.counts, shots=Shots(5, 20)).to_dict()
    words = ("--split", "val", "--shots", "5,20")
    (_, found) = answer("evaluate", project.cache, project.heads["crt"], *words)["heads"]
    assert {key: found[key] for key in report} == report
    assert {"top1", "balanced", "many", "medium", "few", "macro_f1", "nll", "ece"} <= set(report)


def test_the_table(project: Any, done: Run, answer: Answer) -> None:
    words = ("evaluate", project.cache, project.heads["crt"], "--shots", "5,20")
    lines = done(*words).stdout.splitlines()
    figures = ("top1", "balanced", "many", "medium", "few", "macro_f1")
    for line, head in zip(lines[2:4], answer(*words)["heads"], strict=True):
        cells = line.split()
        assert cells[:7] == [head["name"], *(f"{100 * head[name]:.1f}" for name in figures)]
        assert cells[7:] == [f"{head['nll']:.3f}", f"{100 * head['ece']:.1f}"]
    assert lines[4] == "test: 24 labelled rows; many > 20, medium 5..20, few < 5 training rows"


def test_a_group_without_classes_is_a_dash(project: Any, done: Run, answer: Answer) -> None:
    (joint,) = answer("evaluate", project.cache)["heads"]  # no class has more than 100 rows
    assert joint["many"] is None
    assert done("evaluate", project.cache).stdout.splitlines()[2].split()[3] == "–"


def test_equal_names_are_told_apart(project: Any, tmp_path: Path, answer: Answer) -> None:
    other = tmp_path / "crt.safetensors"
    shutil.copy(project.heads["lws"], other)
    shutil.copy(project.heads["ncm"], tmp_path / "joint.safetensors")
    found = answer("evaluate", project.cache, project.heads["crt"], other, tmp_path / "joint.safetensors")
    assert [head["name"] for head in found["heads"]] == ["joint", "crt", "crt-2", "joint-2"]
    assert [head["record"]["method"] for head in found["heads"]] == ["joint", "crt", "lws", "ncm"]


@pytest.fixture(scope="module")
def tuned(project: Any, tmp_path_factory: pytest.TempPathFactory, done: Run) -> Path:
    """A head tuned on val."""
    out = tmp_path_factory.mktemp("tuned") / "tuned.safetensors"
    done("tune", "tau_norm", project.cache, "--out", out)
    return out


def test_a_refitted_head_recognises_the_rare_classes_that_the_joint_one_misses(project: Any, answer: Answer) -> None:
    joint, crt = answer("evaluate", project.cache, project.heads["crt"], "--shots", "5,20")["heads"]
    assert joint["few"] < 0.5 < crt["few"]  # two training images of a class that is plain to see


class TestMarks:
    """A star where the reported rows made the head."""

    def test_none_on_test(self, tuned: Path, project: Any, done: Run, answer: Answer) -> None:
        words = ("evaluate", project.cache, tuned, project.heads["crt"])
        assert [head["marks"] for head in answer(*words)["heads"]] == [[], [], []]
        assert "*" not in done(*words).stdout

    def test_tuned_on_the_reported_split(self, tuned: Path, project: Any, done: Run, answer: Answer) -> None:
        words = ("evaluate", project.cache, tuned, project.heads["crt"], "--split", "val")
        assert [head["marks"] for head in answer(*words)["heads"]] == [[], ["tuned on val"], []]
        text = done(*words).stdout
        assert "\ntuned * " in text
        assert text.endswith("* tuned: tuned on val; its figures are optimistic\n")
        assert text.count("*") == 2

    def test_fitted_on_the_reported_split(self, project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
        done("fit", "crt", project.cache, "--on", "val", "--out", tmp_path / "h.safetensors")
        found = answer("evaluate", project.cache, tmp_path / "h.safetensors", "--split", "val")
        assert [head["marks"] for head in found["heads"]] == [[], ["fitted on val"]]

    def test_rows_the_backbone_saw(self, tuned: Path, project: Any, answer: Answer) -> None:
        found = answer("evaluate", project.cache, tuned, project.heads["crt"], "--split", "train")
        saw = "the backbone was trained on train"
        assert [head["marks"] for head in found["heads"]] == [[saw], [saw], ["fitted on train", saw]]


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

    @pytest.mark.parametrize("shots", ["100,20", "a,b", "20", "-1,5"])
    def test_bad_shots_are_wrong_usage(self, shots: str, project: Any, misused: Refused) -> None:
        misused("evaluate", project.cache, "--shots", shots, holds=(shots,))
