"""Fitting: every method, the record in the head, and what is refused."""

from __future__ import annotations

import inspect
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors import safe_open
from safetensors.torch import save_file

from featurecache import FeatureCache, write
from rebalance import METHODS, LinearHead, load_head
from rebalance.methods import crt, hyperparameters, logit_adjust, tau_norm
from rebalance_cli.caches import provenance

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def defaults(method: str) -> dict[str, Any]:
    function = METHODS[method].function
    return {name: inspect.signature(function).parameters[name].default for name in hyperparameters(function)}


@pytest.mark.parametrize("method", METHODS)
def test_the_record_of_a_head(method: str, project: Any) -> None:
    record = dict(load_head(project.heads[method]).record)
    assert record["method"] == method
    assert record["hyperparameters"] == defaults(method)
    assert record["fitted_on"] == METHODS[method].on
    assert "tuned_on" not in record
    expected = provenance(FeatureCache(project.cache))
    assert {key: record[key] for key in expected} == expected


@pytest.mark.parametrize("method", METHODS)
def test_a_head_is_the_same_wherever_and_whenever_it_is_made(
    method: str, project: Any, tmp_path: Path, done: Run
) -> None:
    shutil.copytree(project.cache, tmp_path / "elsewhere.cache")
    done("fit", method, tmp_path / "elsewhere.cache", "--out", tmp_path / "h.safetensors")
    with (
        safe_open(project.heads[method], framework="pt") as a,
        safe_open(tmp_path / "h.safetensors", framework="pt") as b,
    ):
        assert a.metadata() == b.metadata()
        assert a.keys() == b.keys()
        for name in a.keys():  # noqa: SIM118 (not a dict)
            assert torch.equal(a.get_tensor(name), b.get_tensor(name))
        text = json.dumps(a.metadata())
    assert str(project.cache) not in text
    assert str(tmp_path) not in text


def test_the_command_is_the_library(project: Any, tmp_path: Path, done: Run) -> None:
    cache = FeatureCache(project.cache)
    train, joint = cache["train"], LinearHead(*cache.head)
    done("fit", "crt", project.cache, "--out", tmp_path / "crt.safetensors", "--weight-decay", "0.01", "--tol", "1e-2")
    done("fit", "tau_norm", project.cache, "--out", tmp_path / "tau.safetensors", "--tau", "0.7", "--bias", "keep")
    for name, expected in (
        ("crt", crt(joint, train.features, train.labels, weight_decay=0.01, tol=1e-2)),
        ("tau", tau_norm(joint, train.features, train.labels, tau=0.7, bias="keep")),
    ):
        head = load_head(tmp_path / f"{name}.safetensors")
        assert torch.equal(head.weight, expected.weight)
        assert torch.equal(head.bias, expected.bias)
        assert head.record["hyperparameters"] == expected.record["hyperparameters"]


def test_what_it_says(project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
    out = tmp_path / "h.safetensors"
    text = done("fit", "crt", project.cache, "--out", out, "--tol", "0.01").stdout
    assert text == f"{out}: crt on train (47 rows), recipe fast, tol 0.01, seed 0\n"
    text = done("fit", "tau_norm", project.cache, "--out", out, "--tau", "0.7").stdout
    assert text == f"{out}: tau_norm, tau 0.7, bias drop\n"
    found = answer("fit", "ncm", project.cache, "--out", out, "--on", "val")
    assert found == {"head": str(out), "record": dict(load_head(out).record)}
    assert found["record"]["fitted_on"] == "val"


def test_a_solver_that_stopped_short_says_so_on_stderr(project: Any, tmp_path: Path, done: Run) -> None:
    result = done("fit", "crt", project.cache, "--out", tmp_path / "h.safetensors", "--tol", "1e-12")
    assert load_head(tmp_path / "h.safetensors").record["solver"]["converged"] is False
    assert result.stderr.count("\n") == 1
    assert "the solver stopped after" in result.stderr
    assert "the solver" not in result.stdout


def test_methods_that_need_no_head_work_without_one(tmp_path: Path, done: Run, refused: Refused) -> None:
    write(tmp_path / "x.cache", "train", np.eye(6, 5, dtype=np.float32), np.array([0, 0, 1, 1, 2, 2]))
    for method in ("ncm", "crt"):
        done("fit", method, tmp_path / "x.cache", "--out", tmp_path / "h.safetensors")
        assert load_head(tmp_path / "h.safetensors").num_classes == 3
    for method in ("joint", "tau_norm", "lws"):
        refused("fit", method, tmp_path / "x.cache", "--out", tmp_path / "h.safetensors", holds=(method, "head"))


class TestTrainingCounts:
    """Methods that need the training prior get it from the cache, whatever split they are given."""

    @pytest.mark.parametrize("words", [[], ["--on", "val"], ["--target-prior", "uniform"]])
    def test_they_are_those_of_train(self, words: list[str], project: Any, tmp_path: Path, done: Run) -> None:
        cache = FeatureCache(project.cache)
        train = cache["train"]
        done("fit", "logit_adjust", project.cache, "--out", tmp_path / "h.safetensors", "--tau", "0.9", *words)
        expected = logit_adjust(LinearHead(*cache.head), train.features, train.labels, tau=0.9)
        assert torch.equal(load_head(tmp_path / "h.safetensors").bias, expected.bias)

    def test_the_target_is_a_word_or_a_file(self, project: Any, tmp_path: Path, done: Run) -> None:
        joint = LinearHead(*FeatureCache(project.cache).head)
        out, shares = tmp_path / "h.safetensors", tmp_path / "shares.txt"
        done("fit", "logit_adjust", project.cache, "--out", out, "--target-prior", "train")
        assert torch.equal(load_head(out).bias, joint.bias)
        shares.write_text("1 2\n0.5\n0\n", "utf-8")
        text = done("fit", "logit_adjust", project.cache, "--out", out, "--target-prior", shares).stdout
        assert text == f"{out}: logit_adjust, tau 1, target_prior of 4 numbers\n"
        head = load_head(out)
        assert head.record["hyperparameters"]["target_prior"] == [1.0, 2.0, 0.5, 0.0]
        assert float(head.bias[3]) < -1e29

    def test_a_cache_without_train_has_none(self, project: Any, tmp_path: Path, done: Run, refused: Refused) -> None:
        cache = tmp_path / "x.cache"
        done("extract", cache, "--model", f"run:{project.model}", "--split", f"val={project.photos / 'val'}")
        words = (cache, "--out", tmp_path / "h.safetensors", "--on", "val")
        refused("fit", "logit_adjust", *words, holds=("no split called train", "logit_adjust needs", "there are: val"))
        refused("tune", "multiplicative", *words, holds=("no split called train",))

    def test_a_target_of_other_classes(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        (tmp_path / "shares.txt").write_text("1 2 3", "utf-8")
        words = ("--out", tmp_path / "h.safetensors", "--target-prior", tmp_path / "shares.txt")
        refused("fit", "logit_adjust", project.cache, *words, holds=("--target-prior", "3 numbers", "expected 4"))
        (tmp_path / "shares.txt").write_text("1 two 3", "utf-8")
        refused("fit", "logit_adjust", project.cache, *words, holds=("--target-prior", "'two' is not a number"))

    def test_a_target_by_name_and_a_shift(self, project: Any, tmp_path: Path, done: Run) -> None:
        (tmp_path / "shares.csv").write_text("fox,4\ncat,1\ndog,2\neel,3\n", "utf-8")
        out = tmp_path / "h.safetensors"
        done("fit", "logit_adjust", project.cache, "--out", out, "--target-prior", tmp_path / "shares.csv")
        assert load_head(out).record["hyperparameters"]["target_prior"] == [1.0, 2.0, 3.0, 4.0]
        done("fit", "logit_adjust", project.cache, "--out", out, "--target-prior", "backward:50")
        shares = load_head(out).record["hyperparameters"]["target_prior"]
        assert shares == sorted(shares)
        assert shares[3] == pytest.approx(50 * shares[0])


class TestRefused:
    """Splits, numbers, features and places that do not do."""

    def test_a_split_that_is_not_there(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("fit", "crt", project.cache, "--out", tmp_path / "h.safetensors", "--on", "nosuch")
        refused(*words, holds=("'nosuch'", "train, val, test"))

    @pytest.mark.parametrize(
        ("method", "words"),
        [("crt", ["--weight-decay", "-1"]), ("crt", ["--weight-decay", "nan"]), ("tau_norm", ["--tau", "inf"])],
    )
    def test_a_number_out_of_range(
        self, method: str, words: list[str], project: Any, tmp_path: Path, refused: Refused
    ) -> None:
        name = words[0].removeprefix("--").replace("-", "_")
        refused(
            "fit", method, project.cache, "--out", tmp_path / "h.safetensors", *words, holds=(f"{name} is", words[1])
        )

    @pytest.mark.parametrize("words", [["--weight-decay", "much"], ["--tau", "1"], ["another"]])
    def test_wrong_usage(self, words: list[str], project: Any, misused: Refused) -> None:
        misused("fit", "crt", project.cache, "--out", "h.safetensors", *words)

    @pytest.mark.parametrize("method", ["ncm", "crt", "lws"])
    def test_nan_in_the_cache(self, method: str, project: Any, tmp_path: Path, refused: Refused) -> None:
        shutil.copytree(project.cache, tmp_path / "x.cache")
        shard = tmp_path / "x.cache" / "train" / "00000.h5"
        data = bytearray(shard.read_bytes())
        length = struct.unpack_from("<I", data, 8)[0]
        start = json.loads(data[16 : 16 + length])["columns"]["features"]["offset"]
        data[start + 4 * 2 * 64 : start + 4 * 2 * 64 + 2] = np.float16(np.nan).tobytes()  # the first number of row 4
        shard.write_bytes(data)
        words = ("fit", method, tmp_path / "x.cache", "--out", tmp_path / "h.safetensors")
        refused(*words, holds=(shard, "features of rows 0..46", "checksum"))
        assert not (tmp_path / "h.safetensors").exists()

    @pytest.mark.parametrize("command", ["fit", "tune"])
    def test_a_place_that_cannot_be_written(self, command: str, project: Any, tmp_path: Path, refused: Refused) -> None:
        out = tmp_path / "nowhere" / "h.safetensors"
        line = refused(command, "tau_norm", project.cache, "--out", out, holds=(out,))
        assert ".part" not in line  # a name the user never gave
        line = refused(command, "tau_norm", project.cache, "--out", tmp_path, holds=(tmp_path,))
        assert ".part" not in line
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("command", ["fit", "tune"])
    def test_an_out_that_would_be_no_head_or_replace_something_else(
        self, command: str, project: Any, tmp_path: Path, refused: Refused, done: Run
    ) -> None:
        words = (command, "tau_norm", tmp_path / "nowhere.cache", "--out")  # seen before the cache is looked for
        for name in ("head.pt", "head", "photos.cache"):
            refused(*words, tmp_path / name, holds=(name, "ends"))
        kept = tmp_path / "model.safetensors"
        save_file({"conv.weight": torch.ones(2, 3, 1, 1)}, kept)
        before = kept.read_bytes()
        refused(*words, kept, holds=("model.safetensors is there already and is no head",))
        assert kept.read_bytes() == before
        assert list(tmp_path.iterdir()) == [kept]
        shutil.copy(project.heads["ncm"], kept)  # an older head is replaced
        done(command, "tau_norm", project.cache, "--out", kept)
        assert load_head(kept).record["method"] == "tau_norm"


@pytest.mark.parametrize("method", ["crt", "balanced_softmax", "label_aware_smoothing", "lws", "over_smoothing", "lda"])
def test_a_large_problem_is_one_seeded_pass(
    method: str, project: Any, tmp_path: Path, done: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebalance.solving.trained.SMALL", 0)
    done("fit", method, project.cache, "--out", tmp_path / "h.safetensors")
    assert (
        "stopped"
        not in done("compare", project.cache, "--methods", method, "--heads", tmp_path, "--replicates", 0).stdout
    )
