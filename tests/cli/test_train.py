"""Training: the run file, the lists of both parts, the options, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache, training
from featurecache.models import read_run

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

QUICK = ("--image-size", 16, "--epochs", 1, "--batch-size", 16)


def entries(path: Path) -> list[str]:
    """The lines of a list that name an image."""
    return [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]


def test_a_tenth_of_every_class_is_held_out_and_listed(project: Any) -> None:
    lists = [project.model.with_name(f"joint.{name}.txt") for name in ("train", "val")]
    fitted, held = ([line.rsplit(" ", 1) for line in entries(path)] for path in lists)
    everything = sorted(
        path.relative_to(project.photos / "train") for path in (project.photos / "train").rglob("*.png")
    )
    assert sorted(Path(path) for path, _ in fitted + held) == everything
    assert [sum(label == str(k) for _, label in fitted) for k in range(4)] == [27, 13, 5, 2]
    assert [sum(label == str(k) for _, label in held) for k in range(4)] == [3, 1, 1, 1]


def test_the_lists_go_into_an_extraction(project: Any, tmp_path: Path, answer: Answer) -> None:
    found = answer(
        "extract", tmp_path / "x.cache", "--model", f"run:{project.model}", "--root", project.photos / "train",
        "--split", f"train={project.model.with_name('joint.train.txt')}",
        "--split", f"val={project.model.with_name('joint.val.txt')}",
    )  # fmt: skip
    assert found["written"] == {"train": 47, "val": 6}


def test_what_it_says(project: Any, tmp_path: Path, done: Run) -> None:
    out = tmp_path / "x.pt"
    lines = done("train", project.photos / "train", "--out", out, *QUICK).stdout.splitlines()
    assert lines[0].startswith(f"{out}: 4 classes, 47 rows, epoch 1 of 1, balanced accuracy ")
    assert lines[0].endswith(" % on 6 held-out rows")
    assert [line.partition(":")[0] for line in lines[1:]] == [
        str(tmp_path / f"x.{name}") for name in ("train.txt", "val.txt", "log.csv")
    ]


def test_the_best_epoch_is_the_one_of_the_highest_score(project: Any, tmp_path: Path, answer: Answer) -> None:
    words = ("train", project.photos / "train", "--val", project.photos / "val", "--out", tmp_path / "x.pt", *QUICK)
    found = answer(*words, "--epochs", 6, "--lr", 0.02)
    scores = [epoch["score"] for epoch in found["history"]]
    assert scores[found["best_epoch"]] == max(scores) > min(scores)  # or any epoch would do
    assert (found["held_out"], found["rows"], found["lists"]) == (16, 53, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log.csv", "x.log.jsonl", "x.pt"]
    val = ("--split", f"val={project.photos / 'val'}")
    judged = answer("extract", tmp_path / "x.cache", "--model", f"run:{tmp_path / 'x.pt'}", *val)["accuracy"]["val"]
    # Both are counts of the same 16 predictions; only rounding of their mean could differ.
    assert max(scores) == pytest.approx(judged["balanced"], abs=1e-9)


def test_the_run_file_says_how_it_came_to_be(project: Any) -> None:
    found = read_run(project.model)
    assert found["class_names"] == ["cat", "dog", "eel", "fox"]
    assert (found["arch"], found["image_size"], found["channels"], found["seed"]) == ("convnet", 16, 3, 0)
    state = torch.load(project.model, weights_only=True)
    assert state["classifier.weight"].shape == (4, 64)
    assert str(project.photos) not in json.dumps(found)


@pytest.mark.parametrize("sampler", ["instance", "class", "sqrt", "progressive"])
def test_every_sampler_trains(sampler: str, project: Any, tmp_path: Path, answer: Answer) -> None:
    out = tmp_path / "x.safetensors"
    found = answer("train", project.photos / "train", "--out", out, *QUICK, "--epochs", 2, "--sampler", sampler)
    assert len(found["history"]) == 2
    assert read_run(out)["sampler"] == sampler


def test_samplers_differ(project: Any, tmp_path: Path, answer: Answer) -> None:
    losses = {
        answer("train", project.photos / "train", "--out", tmp_path / "x.pt", *QUICK, "--sampler", sampler)["history"][
            0
        ]["loss"]
        for sampler in ("instance", "class", "sqrt")
    }
    assert len(losses) == 3


def test_images_are_mirrored_unless_told_otherwise(project: Any, tmp_path: Path, answer: Answer) -> None:
    words = ("train", project.photos / "train", "--out", tmp_path / "x.pt", *QUICK)
    plain, mirrored, again = (answer(*words, *flag)["history"][0]["loss"] for flag in (["--no-flip"], [], ["--flip"]))
    assert mirrored == again != plain


def test_a_seed_gives_the_same_weights_and_another_seed_others(project: Any, tmp_path: Path, done: Run) -> None:
    states = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        done("train", project.photos / "train", "--out", tmp_path / f"{name}.pt", *QUICK, "--seed", seed)
        states.append(torch.load(tmp_path / f"{name}.pt", weights_only=True))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["classifier.weight"], states[2]["classifier.weight"])
    assert [read_run(tmp_path / f"{name}.pt")["seed"] for name in "abc"] == [3, 3, 4]
    assert entries(tmp_path / "a.val.txt") == entries(tmp_path / "b.val.txt") != entries(tmp_path / "c.val.txt")


def test_nothing_is_held_out_where_none_is_asked_for(project: Any, tmp_path: Path, answer: Answer) -> None:
    found = answer("train", project.photos / "train", "--out", tmp_path / "x.pt", *QUICK, "--holdout", 0)
    assert (found["held_out"], found["lists"], found["rows"]) == (0, [], 53)
    assert found["history"][0]["score"] is None


def test_classes_of_one_image_are_too_few_to_hold_out(project: Any, tmp_path: Path, run: Run) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "few" / name).mkdir(parents=True)
        shutil.copy(project.photos / "train" / name / "00.png", tmp_path / "few" / name)
    result = run("train", tmp_path / "few", "--out", tmp_path / "x.pt", *QUICK, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["held_out"] == 0
    assert "too small to hold out" in result.stderr


def test_digits_in_grey(tmp_path: Path, answer: Answer) -> None:
    words = ("--image-size", 8, "--grey", "--no-flip", "--epochs", 1)
    found = answer("train", "digits:train", "--val", "digits:val", "--out", tmp_path / "x.pt", *words)
    assert (found["classes"], found["held_out"]) == (10, 200)
    assert read_run(tmp_path / "x.pt")["channels"] == 1


@needs_timm
def test_a_timm_architecture(project: Any, tmp_path: Path, answer: Answer) -> None:
    out = tmp_path / "x.pt"
    answer("train", project.photos / "train", "--out", out, *QUICK, "--arch", "timm:test_resnet", "--image-size", 32)
    found = answer(
        "extract", tmp_path / "x.cache", "--model", f"run:{out}", "--split", f"test={project.photos / 'test'}"
    )
    assert found["written"] == {"test": 24}


def test_an_architecture_of_ones_own(project: Any, models: Path, tmp_path: Path, answer: Answer) -> None:
    found = answer(
        "train", project.photos / "train", "--out", tmp_path / "x.pt", *QUICK, "--arch", f"file:{models}:tiles"
    )
    assert found["classes"] == 4


class TestRefused:
    """Bad data, bad architectures, places where nothing can be written."""

    def test_a_folder_without_images(self, tmp_path: Path, refused: Refused) -> None:
        (tmp_path / "empty").mkdir()
        refused("train", tmp_path / "empty", "--out", tmp_path / "x.pt", holds=("empty", "no class folders"))

    def test_an_empty_class_folder(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        shutil.copytree(project.photos / "val", tmp_path / "photos")
        (tmp_path / "photos" / "gnu").mkdir()
        refused("train", tmp_path / "photos", "--out", tmp_path / "x.pt", holds=("photos/gnu'", "no images"))

    def test_a_class_that_is_named_and_missing(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        gap = project.photos / "train"
        listed = tmp_path / "gap.txt"
        listed.write_text("# class 0 cat\n# class 1 d\x1bg\ncat/00.png 0\ncat/01.png 0\n", "utf-8")
        line = refused("train", listed, "--root", gap, "--out", tmp_path / "x.pt", holds=("(1)", "has no image"))
        assert "\x1b" not in line

    @pytest.mark.parametrize(
        ("bad", "says"), [("cat/01.png zero", "'zero'"), ("cat/01.png", "path label"), ("../x.png 1", "..")]
    )
    def test_a_bad_line_of_a_list(self, bad: str, says: str, project: Any, tmp_path: Path, refused: Refused) -> None:
        listed = tmp_path / "bad.txt"
        listed.write_text(f"cat/00.png 0\n{bad}\n", "utf-8")
        words = ("train", listed, "--root", project.photos / "train", "--out", tmp_path / "x.pt")
        refused(*words, holds=("bad.txt", "line 2", says))

    @pytest.mark.parametrize("data", ["nowhere", "foo:bar", "digits:nosuch"])
    def test_an_unknown_source(self, data: str, tmp_path: Path, refused: Refused) -> None:
        refused("train", data, "--out", tmp_path / "x.pt", holds=(data, "expected digits"))

    def test_a_folder_of_splits(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        refused("train", project.photos, "--out", tmp_path / "x.pt", holds=("splits, not classes", "photos/train'"))

    def test_a_damaged_image(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        shutil.copytree(project.photos / "val", tmp_path / "photos")
        (tmp_path / "photos" / "dog" / "01.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
        words = ("train", tmp_path / "photos", "--out", tmp_path / "x.pt", "--holdout", 0, *QUICK)
        refused(*words, holds=("photos/dog/01.png'", "cannot be read"))

    @pytest.mark.parametrize(
        ("arch", "name"),
        [
            ("nosuch", "'nosuch'"),
            ("convnet:large", "'large'"),
            ("file:nowhere.py:f", "'nowhere.py'"),
            pytest.param("resnet18", "timm:resnet18", marks=needs_timm),
            pytest.param("timm:nosuch", "'nosuch'", marks=needs_timm),
        ],
    )
    def test_an_unknown_architecture(
        self, arch: str, name: str, project: Any, tmp_path: Path, refused: Refused
    ) -> None:
        words = ("train", project.photos / "train", "--out", tmp_path / "x.pt", *QUICK, "--arch", arch)
        refused(*words, holds=(name,))

    def test_a_learning_rate_that_diverges(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("train", project.photos / "train", "--out", tmp_path / "x.pt", *QUICK, "--epochs", 3, "--lr", 1e20)
        refused(*words, holds=("--lr",))

    @pytest.mark.parametrize("judged", [[], ["--val"]], ids=["held out", "val"])
    def test_a_folder_that_is_not_there(
        self, judged: list[str], project: Any, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("it trained first"))
        out = tmp_path / "nowhere" / "x.pt"
        val = [*judged, *([project.photos / "val"] if judged else [])]
        refused("train", project.photos / "train", "--out", out, *QUICK, *val, holds=("nowhere", "folder"))

    @pytest.mark.parametrize("judged", [[], ["--val"]], ids=["held out", "val"])
    def test_a_folder_in_the_files_place(
        self, judged: list[str], project: Any, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("it trained first"))
        val = [*judged, *([project.photos / "val"] if judged else [])]
        refused("train", project.photos / "train", "--out", tmp_path, *QUICK, *val, holds=(tmp_path, "folder"))


@pytest.mark.parametrize("kind", ["class name", "image name"])
def test_data_that_no_list_can_name_is_refused_before_it_trains(
    kind: str, project: Any, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("it trained first"))
    data = tmp_path / "photos"
    shutil.copytree(project.photos / "val", data)
    if kind == "class name":
        (data / "dog").rename(data / "two\nlines")
    else:
        (data / "dog" / "00.png").rename(data / "dog" / "two\nlines.png")
    says = ("two\\nlines", "cannot stand in a list")
    refused("train", data, "--out", tmp_path / "x.pt", *QUICK, holds=says)


def test_rows_that_are_no_files_are_held_out_too(tmp_path: Path, answer: Answer) -> None:
    model = tmp_path / "x.pt"
    made = answer("train", "digits:train", "--out", model, "--image-size", "8", "--grey", "--epochs", "1")
    fitted, held_out = (f"digits:train:only={path}" for path in made["lists"])
    words = ("--model", f"run:{model}", "--split", f"train={fitted}", "--split", f"val={held_out}")
    done = answer("extract", tmp_path / "c", *words)
    assert done["written"] == {"train": made["rows"], "val": made["held_out"]}
    cache = FeatureCache(tmp_path / "c")
    assert not set(cache["train"].sample_id.tolist()) & set(cache["val"].sample_id.tolist())
    assert [cache[name].seen for name in cache] == [True, False]


def test_its_lists_never_replace_the_list_it_reads(project: Any, tmp_path: Path, refused: Refused) -> None:
    mine = tmp_path / "photos.train.txt"
    shutil.copy(project.model.with_name("joint.train.txt"), mine)
    before = mine.read_bytes()
    words = ("--root", project.photos / "train", "--out", tmp_path / "photos.pt", *QUICK)
    refused("train", mine, *words, holds=("photos.train.txt", "--out"))
    assert mine.read_bytes() == before


@pytest.mark.parametrize(
    "fault", [ValueError("training: the loss is nan"), KeyboardInterrupt()], ids=["refused", "stopped"]
)
def test_a_training_that_fails_leaves_the_lists_of_the_model_that_is_there(
    fault: BaseException, project: Any, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("joint.pt", "joint.train.txt", "joint.val.txt"):
        shutil.copy(project.model.with_name(name), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(training, "train", fail)
    result = run("train", project.photos / "train", "--out", tmp_path / "joint.pt", *QUICK, "--seed", 9)
    assert result.exit_code in (1, 130)
    # Other lists beside the old model would pass rows off as held out that it was trained on.
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_model_that_is_there_is_not_replaced_without_a_word(project: Any, tmp_path: Path, run: Run) -> None:
    words = ("train", project.photos / "val", "--out", tmp_path / "x.pt", "--holdout", "0", *QUICK)
    assert "replaced" not in run(*words).stderr
    assert "x.pt is there already; it is replaced when this training is done" in run(*words).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log.csv", "x.log.jsonl", "x.pt"]
