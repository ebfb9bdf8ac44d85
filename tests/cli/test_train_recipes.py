"""Other ways to train: losses, parts of a model, given weights; and a training that was stopped."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

from featurecache.models import open_model, read_run
from featurecache.training import stepping

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

QUICK = ("--image-size", 16, "--epochs", 2, "--batch-size", 16)


def state(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return found


@pytest.mark.parametrize("loss", ["focal", "cb", "balanced-softmax", "logit-adjusted"])
def test_every_loss_trains(loss: str, project: Any, tmp_path: Path, answer: Answer) -> None:
    found = answer("train", project.photos / "train", "--out", tmp_path / "x.pt", *QUICK, "--loss", loss)
    plain = answer("train", project.photos / "train", "--out", tmp_path / "y.pt", *QUICK)
    assert found["history"][0]["loss"] != plain["history"][0]["loss"]
    assert read_run(tmp_path / "x.pt")["loss"] == loss


def test_ldam_leaves_a_model_of_cosines_that_extracts_and_takes_new_heads(
    project: Any, tmp_path: Path, answer: Answer, done: Run
) -> None:
    out, cache, head = tmp_path / "x.pt", tmp_path / "x.cache", tmp_path / "crt.safetensors"
    answer("train", project.photos / "train", "--out", out, *QUICK, "--epochs", 5, "--loss", "ldam", "--lr", 0.02)
    assert read_run(out)["unit_rows"] == "classifier"
    weights = state(out)
    torch.testing.assert_close(weights["classifier.1.weight"].norm(dim=1), torch.full((4,), 30.0))
    splits = [word for name in ("train", "test") for word in ("--split", f"{name}={project.photos / name}")]
    answer("extract", cache, "--model", f"run:{out}", *splits)
    done("fit", "crt", cache, "--out", head)
    done("export", head, "--into", out, "--out", tmp_path / "new.pt")
    assert not torch.equal(state(tmp_path / "new.pt")["classifier.1.weight"], weights["classifier.1.weight"])
    again = answer("train", project.photos / "train", "--init", out, "--out", tmp_path / "z.pt", *QUICK[2:])
    assert read_run(tmp_path / "z.pt")["unit_rows"] == "classifier"
    assert len(again["history"]) == 2


def test_other_recipes(project: Any, tmp_path: Path, answer: Answer) -> None:
    out = tmp_path / "x.pt"
    answer(
        "train", project.photos / "train", "--out", out, *QUICK, "--optimizer", "adamw", "--mixup", 0.2, "--ema", 0.9,
        "--label-smoothing", 0.1, "--amp", "bf16", "--augment", "pad", "--jitter", 0.4,
        "--transform", "mean=0.5", "--transform", "std=0.25", "--arch", "resnet32",
    )  # fmt: skip
    found = read_run(out)
    assert (found["optimizer"], found["ema"], found["arch"]) == ("adamw", 0.9, "resnet32")
    assert (found["transform"]["mean"], found["transform"]["std"]) == ([0.5] * 3, [0.25] * 3)
    assert "mean [0.5, 0.5, 0.5]" in open_model(f"run:{out}").transform_text


def test_the_log_has_a_line_for_every_epoch(project: Any, tmp_path: Path, answer: Answer) -> None:
    found = answer("train", project.photos / "train", "--out", tmp_path / "x.pt", *QUICK)
    assert found["logs"] == [str(tmp_path / "x.log.csv"), str(tmp_path / "x.log.jsonl")]
    with (tmp_path / "x.log.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]
    lines = [json.loads(line) for line in (tmp_path / "x.log.jsonl").read_text().splitlines()]
    assert lines == found["history"]
    assert lines[0]["rows_per_second"] > 0
    assert not (tmp_path / "x.pt.training").exists()


class TestInit:
    """Beginning with the weights of a model that is trained already."""

    def test_classifier_only_leaves_the_backbone_as_it_is(self, project: Any, tmp_path: Path, run: Run) -> None:
        out = tmp_path / "x.pt"
        words = ("--init", f"run:{project.model}", "--freeze", "backbone", "--sampler", "class", "--epochs", 2)
        result = run("train", project.photos / "train", "--out", out, *words, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["trained"] == ["classifier"]
        assert "training 'classifier': 260 of " in result.stderr
        before, after = state(project.model), state(out)
        assert {name for name in before if not torch.equal(before[name], after[name])} == {
            "classifier.weight", "classifier.bias"
        }  # fmt: skip

    def test_the_last_block_trains_with_it(self, project: Any, tmp_path: Path, answer: Answer) -> None:
        out = tmp_path / "x.pt"
        words = ("--init", f"run:{project.model}", "--freeze", "last-block", "--epochs", 1)
        found = answer("train", project.photos / "train", "--out", out, *words)
        before, after = state(project.model), state(out)
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert found["trained"][-1] == "classifier"
        assert all(name.startswith(tuple(found["trained"])) for name in moved)
        assert "features.stem.0.weight" not in moved

    def test_without_freezing_everything_goes_on_from_there(self, project: Any, tmp_path: Path, answer: Answer) -> None:
        words = (project.photos / "train", "--epochs", 1, "--lr", 1e-3, "--holdout", 0)
        fresh = answer("train", *words, "--out", tmp_path / "x.pt", "--image-size", 16)
        going_on = answer("train", *words, "--out", tmp_path / "y.pt", "--init", project.model)
        assert going_on["history"][0]["loss"] < fresh["history"][0]["loss"]
        assert read_run(tmp_path / "y.pt")["image_size"] == 16

    def test_a_fresh_classifier(self, project: Any, tmp_path: Path, run: Run) -> None:
        words = (project.photos / "train", "--init", project.model, "--freeze", "backbone", "--epochs", 1)
        losses = {}
        for flag in ([], ["--fresh-classifier"]):
            result = run("train", *words, "--out", tmp_path / f"{len(flag)}.pt", *flag, "--json")
            assert ("is drawn anew: as asked" in result.stderr) == bool(flag)
            losses[len(flag)] = json.loads(result.stdout)["history"][0]["loss"]
        assert losses[0] < losses[1]

    def test_other_classes_get_a_classifier_of_their_own(self, project: Any, tmp_path: Path, run: Run) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        for name in ("cat", "dog"):
            (folder / name).symlink_to(project.photos / "train" / name)
        result = run("train", folder, "--init", project.model, "--epochs", 1, "--out", tmp_path / "x.pt")
        assert result.exit_code == 0, result.output
        assert "is drawn anew: its classes are others" in result.stderr
        assert state(tmp_path / "x.pt")["classifier.weight"].shape == (2, 64)

    def test_plain_weights_need_an_architecture(
        self, project: Any, tmp_path: Path, answer: Answer, refused: Refused
    ) -> None:
        plain = tmp_path / "plain.pt"
        torch.save({f"module.{name}": value for name, value in state(project.model).items()}, plain)
        words = ("train", project.photos / "train", "--out", tmp_path / "x.pt", "--init", plain, *QUICK)
        refused(*words, holds=("plain.pt", "does not say what model it is", "--arch"))
        assert len(answer(*words, "--arch", "convnet")["history"]) == 2
        refused(*words, "--arch", "resnet32", holds=("plain.pt", "of another architecture"))

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("--arch", "resnet32"), "is a 'convnet', not 'resnet32'"),
            (("--image-size", 32), "reads 16 pixels and 3 channels"),
            (("--grey",), "leave --image-size and --grey out"),
            (("--transform", "size=8"), "--image-size is the size"),
        ],
    )
    def test_options_that_contradict_the_run_are_refused(
        self, words: tuple[Any, ...], says: str, project: Any, tmp_path: Path, refused: Refused
    ) -> None:
        given = ("train", project.photos / "train", "--out", tmp_path / "x.pt", "--init", project.model)
        refused(*given, *words, holds=(says,))

    @pytest.mark.parametrize("words", [("--freeze", "backbone"), ("--fresh-classifier",)])
    def test_nothing_is_frozen_that_was_never_trained(
        self, words: tuple[str, ...], project: Any, tmp_path: Path, refused: Refused
    ) -> None:
        refused("train", project.photos / "train", "--out", tmp_path / "x.pt", *words, holds=("give --init",))


class TestStopped:
    """The same command goes on with what is missing."""

    WORDS = (*QUICK, "--epochs", 3, "--sampler", "class", "--mixup", 0.2, "--ema", 0.9)

    def stopped(self, words: tuple[Any, ...], run: Run, at: int, monkeypatch: pytest.MonkeyPatch) -> Result:
        real, calls = stepping.Mixup.__call__, iter(range(10**6))

        def call(self: Any, *given: Any) -> Any:
            if next(calls) == at:
                raise KeyboardInterrupt
            return real(self, *given)

        with monkeypatch.context() as patch:
            patch.setattr(stepping.Mixup, "__call__", call)
            return run(*words)

    @pytest.mark.parametrize("sampler", ["instance", "class", "sqrt", "progressive"])
    def test_it_ends_in_the_same_bits(
        self, sampler: str, project: Any, tmp_path: Path, run: Run, done: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = (*self.WORDS, "--sampler", sampler)
        done("train", project.photos / "train", "--out", tmp_path / "whole.pt", *words)
        own = ("train", project.photos / "train", "--out", tmp_path / "x.pt", *words)
        result = self.stopped(own, run, 7, monkeypatch)  # three steps an epoch
        assert result.exit_code == 130
        assert sorted(path.name for path in tmp_path.glob("x.*")) == ["x.log.csv", "x.log.jsonl", "x.pt.training"]
        (line,) = [line for line in result.stderr.splitlines() if "interrupted" in line]
        assert "2 whole epochs safe in " in line
        command = shlex.split(line.partition("to go on: ")[2])
        assert command == ["rebalance", *map(str, own)]
        done(*command[1:])
        whole, again = state(tmp_path / "whole.pt"), state(tmp_path / "x.pt")
        assert all(torch.equal(whole[name], again[name]) for name in whole)
        assert not (tmp_path / "x.pt.training").exists()
        assert len((tmp_path / "x.log.jsonl").read_text().splitlines()) == 3

    def test_before_the_first_epoch_nothing_is_promised(
        self, project: Any, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = ("train", project.photos / "train", "--out", tmp_path / "x.pt", *self.WORDS)
        assert "0 whole epochs safe; to go on: rebalance train " in self.stopped(words, run, 1, monkeypatch).stderr

    def test_other_options_are_refused(
        self, project: Any, tmp_path: Path, run: Run, refused: Refused, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = ("train", project.photos / "train", "--out", tmp_path / "x.pt", *self.WORDS)
        self.stopped(words, run, 4, monkeypatch)
        for change, says in ((("--lr", 0.3), "'lr' was 0.1"), (("--loss", "cb"), "'loss' was 'ce'"),
                             (("--no-flip",), "'transform' was"), (("--arch", "resnet32"), "'arch' was")):  # fmt: skip
            refused_line = run(*words, *change)
            assert refused_line.exit_code == 1
            assert "is of another training" in refused_line.stderr
            assert says in refused_line.stderr

    def test_a_damaged_state_is_refused(self, project: Any, tmp_path: Path, run: Run) -> None:
        (tmp_path / "x.pt.training").write_bytes(b"PK\x03\x04 and no more")
        result = run("train", project.photos / "train", "--out", tmp_path / "x.pt", *self.WORDS)
        assert result.exit_code == 1
        assert "x.pt.training' is no state of a training" in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--loss", "focal", "--label-smoothing", 0.1), "--label-smoothing goes with --loss ce"),
        (("--init", "nowhere.pt"), "nowhere.pt"),
        (("--amp", "fp16", "--device", "cpu"), "amp fp16 needs a CUDA device"),
    ],
)
def test_what_does_not_go_together(words: tuple[Any, ...], says: str, project: Any, tmp_path: Path, run: Run) -> None:
    result = run("train", project.photos / "train", "--out", tmp_path / "x.pt", *QUICK, *words)
    assert result.exit_code == 1
    assert says in result.stderr


def test_ldam_needs_a_classifier_that_the_file_can_describe(
    project: Any, models: Path, tmp_path: Path, refused: Refused
) -> None:
    words = ("train", project.photos / "train", "--out", tmp_path / "x.pt", *QUICK, "--loss", "ldam")
    refused(*words, "--arch", f"file:{models}:tiles", holds=("--loss ldam changes the classifier", "file: model"))


def test_small_images_that_are_padded_are_read_whole(tmp_path: Path, answer: Answer) -> None:
    for augment, crop in (("pad", 1.0), ("crop", 0.875)):
        out = tmp_path / f"{augment}.pt"
        answer(
            "train",
            "digits:train",
            "--val",
            "digits:val",
            "--out",
            out,
            "--image-size",
            "8",
            "--grey",
            "--epochs",
            "1",
            "--augment",
            augment,
        )
        assert read_run(out)["transform"]["crop"] == crop
