"""Tuning: grids, the exact search, honesty, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from featurecache import FeatureCache, write
from rebalance import LinearHead, load_head
from rebalance import tune as library_tune
from rebalance_cli.tune import MAX_GRID, _parse_grid, tune

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def parsed(*values: str) -> dict[str, list[Any]]:
    return dict(_parse_grid(click.Context(tune), click.Option(["--grid"]), values))


@pytest.mark.parametrize("method", ["ncm", "crt", "tau_norm", "lws"])
def test_the_record_of_a_tuned_head(method: str, project: Any, tmp_path: Path, answer: Answer) -> None:
    out = tmp_path / "h.safetensors"
    found = answer("tune", method, project.cache, "--out", out)
    record = load_head(out).record
    assert found["head"] == str(out)
    assert found["record"] == record
    assert (record["method"], record["tuned_on"], record["tuned_on_seen"]) == (method, "val", False)
    assert record["fitted_on"] == (None if method == "tau_norm" else "train")
    assert record["cache"] == FeatureCache(project.cache).hash
    assert record["layer"] == "classifier"
    assert record["tuned"]["search"] == ("exact" if method == "tau_norm" else "grid")
    assert record["tuned"]["rows"] == 16
    for name, value in record["tuned"]["parameters"].items():
        assert record["hyperparameters"][name] == value


def test_the_command_is_the_library(project: Any, tmp_path: Path, answer: Answer) -> None:
    cache = FeatureCache(project.cache)
    joint, val = LinearHead(*cache.head), cache["val"]
    best = library_tune("tau_norm", joint, val.features, val.labels, select="best", metric="top1")
    found = answer(
        "tune", "tau_norm", project.cache, "--out", tmp_path / "h.safetensors", "--select", "best", "--metric", "top1"
    )
    assert found["record"]["hyperparameters"]["tau"] == best.tau
    assert found["record"]["tuned"]["value"] == best.value
    assert found["record"]["tuned"]["metric"] == "top1"
    curve = found["curve"]
    assert len(curve["values"]) == len(curve["breakpoints"]) + 1


@pytest.mark.parametrize(("method", "searched"), [("logit_adjust", "tau"), ("multiplicative", "gamma")])
def test_prior_correction_is_searched_exactly_with_the_counts_of_train(
    method: str, searched: str, project: Any, tmp_path: Path, answer: Answer
) -> None:
    cache = FeatureCache(project.cache)
    joint, val = LinearHead(*cache.head), cache["val"]
    best = library_tune(method, joint, val.features, val.labels, counts=cache.counts)
    found = answer("tune", method, project.cache, "--out", tmp_path / "h.safetensors")
    record = found["record"]
    assert record["hyperparameters"][searched] == best.parameters[searched]
    assert record["tuned"]["search"] == "exact"
    assert (record["fitted_on"], record["tuned_on"]) == (None, "val")
    assert torch.equal(load_head(tmp_path / "h.safetensors").bias, best.head.bias)


def test_a_target_stays_fixed_while_tau_is_searched(project: Any, tmp_path: Path, done: Run) -> None:
    (tmp_path / "shares.txt").write_text("1 1 1 5", "utf-8")
    words = ("--target-prior", tmp_path / "shares.txt")
    text = done("tune", "logit_adjust", project.cache, "--out", tmp_path / "h.safetensors", *words).stdout
    assert ", target_prior of 4 numbers; balanced accuracy" in text
    assert load_head(tmp_path / "h.safetensors").record["hyperparameters"]["target_prior"] == [1.0, 1.0, 1.0, 5.0]


@pytest.mark.parametrize(
    ("grid", "values"),
    [
        ("tau=0:2:0.5", [0.0, 0.5, 1.0, 1.5, 2.0]),
        ("tau=0.1:0.3:0.1", [0.1, 0.2, 0.3]),
        ("tau=1:1:1", [1.0]),
        ("tau=0:1:0.4", [0.0, 0.4, 0.8]),
        ("tau=-1:1:1", [-1.0, 0.0, 1.0]),
        ("tau=1e-3,0.5,2", [1e-3, 0.5, 2.0]),
        ("bias=drop,scale", ["drop", "scale"]),
        ("tau=0.7", [0.7]),
    ],
)
def test_grids(grid: str, values: list[Any]) -> None:
    assert list(parsed(grid).values()) == [values]


@given(start=st.integers(-50, 50), steps=st.integers(0, 99), step=st.integers(1, 40))
def test_a_span_holds_both_ends_and_equal_steps(start: int, steps: int, step: int) -> None:
    first, wide = start / 10, step / 100
    stop = first + steps * wide
    (values,) = parsed(f"x={first}:{stop}:{wide}").values()
    assert len(values) == steps + 1
    # Rounded to twelve digits, so that 0.1 + 0.2 is 0.3.
    np.testing.assert_allclose(values, np.linspace(first, stop, steps + 1), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ("weight_decay", "name=start:stop:step or name=value,value"),
        ("weight_decay=", "name=start:stop:step or name=value,value"),
        ("=1,2", "name=start:stop:step or name=value,value"),
        ("weight_decay=0:1", "start:stop:step"),
        ("weight_decay=0:1:2:3", "start:stop:step"),
        ("weight_decay=a:b:c", "start:stop:step"),
        ("weight_decay=0:1:0", "step > 0"),
        ("weight_decay=1:0:0.1", "start <= stop"),
        ("weight_decay=nan:1:0.1", "start <= stop"),
        ("weight_decay=0:inf:1", str(MAX_GRID)),
        ("weight_decay=0:1:1e-9", str(MAX_GRID)),
        ("weight_decay=1,,2", "weight_decay=1,,2"),
    ],
)
def test_a_grid_that_cannot_be_read_is_wrong_usage(grid: str, says: str, project: Any, misused: Refused) -> None:
    misused("tune", "crt", project.cache, "--out", "h.safetensors", "--grid", grid, holds=(grid, says))


def test_text_for_a_number_is_wrong_usage(project: Any, tmp_path: Path, misused: Refused) -> None:
    words = ("--out", tmp_path / "h.safetensors", "--grid", "weight_decay=small,large")
    misused("tune", "crt", project.cache, *words, holds=("weight_decay", "small"))


def test_a_name_in_two_grids_is_wrong_usage(project: Any, tmp_path: Path, misused: Refused) -> None:
    words = ("--grid", "weight_decay=1e-3,1e-2", "--grid", "weight_decay=1e-1,1")
    misused("tune", "crt", project.cache, "--out", tmp_path / "h.safetensors", *words, holds=("weight_decay", "twice"))


def test_a_value_and_a_grid_for_one_hyperparameter_contradict(project: Any, tmp_path: Path, run: Run) -> None:
    words = ("--weight-decay", "1e-3", "--grid", "weight_decay=1e-2,1e-1")
    result = run("tune", "crt", project.cache, "--out", tmp_path / "h.safetensors", *words)
    assert result.exit_code in (1, 2)
    assert "weight_decay" in result.stderr
    assert not (tmp_path / "h.safetensors").exists()


def test_two_grids_are_all_combinations(project: Any, tmp_path: Path, answer: Answer) -> None:
    words = ("--grid", "transform=un,l2n,cl2n", "--grid", "distance=l2,cosine")
    curve = answer("tune", "ncm", project.cache, "--out", tmp_path / "h.safetensors", *words)["curve"]
    assert len({(point["transform"], point["distance"]) for point in curve}) == len(curve) == 6


def test_an_option_fixes_its_hyperparameter(project: Any, tmp_path: Path, answer: Answer) -> None:
    found = answer("tune", "crt", project.cache, "--out", tmp_path / "h.safetensors", "--tol", "0.01")
    assert found["record"]["hyperparameters"]["tol"] == 0.01
    assert {point["tol"] for point in found["curve"]} == {0.01}


@pytest.mark.parametrize(("method", "option"), [("tau_norm", "--tau FLOAT"), ("crt", "--weight-decay FLOAT")])
def test_help_names_no_default_for_what_is_searched(method: str, option: str, done: Run) -> None:
    lines = done("tune", method, "--help").stdout.splitlines()
    (first,) = [i for i, line in enumerate(lines) if line.strip().startswith(option)]
    last = next(i for i in range(first + 1, len(lines)) if lines[i].strip().startswith("--"))
    assert "default: " not in " ".join(line.strip() for line in lines[first:last])


class TestWhatItSays:
    """The line on the result, the line on the search, and notes."""

    def test_one_standard_error_on_a_grid(self, project: Any, tmp_path: Path, done: Run) -> None:
        lines = done("tune", "crt", project.cache, "--out", tmp_path / "h.safetensors").stdout.splitlines()
        assert lines[0].startswith(f"{tmp_path / 'h.safetensors'}: crt, weight_decay ")
        assert lines[0].endswith(" % on val (16 rows)")
        assert lines[1].startswith("the joint head has ")
        assert lines[2] == "grid of 5; the most regularised within one standard error of the best"

    def test_a_choice_that_beats_nothing_is_called_so(self, project: Any, tmp_path: Path, done: Run) -> None:
        # Without decay the hyperparameter grid cannot beat the joint head: the head is its own best.
        head = LinearHead(torch.eye(2), torch.zeros(2))
        rows = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)
        write(tmp_path / "x.cache", "val", rows, np.repeat(np.arange(2), 4), head=head)
        result = done("tune", "tau_norm", tmp_path / "x.cache", "--out", tmp_path / "h.safetensors")
        assert "the joint head has 100.0 % there, the best of all 100.0 %" in result.stdout
        assert "no better than the joint head" in result.stderr

    def test_the_best_on_a_grid_is_not_called_the_most_regularised(
        self, project: Any, tmp_path: Path, done: Run
    ) -> None:
        text = done("tune", "crt", project.cache, "--out", tmp_path / "h.safetensors", "--select", "best").stdout
        assert "grid of 5" in text
        assert "standard error" not in text

    def test_the_exact_search(self, project: Any, tmp_path: Path, done: Run) -> None:
        text = done("tune", "tau_norm", project.cache, "--out", tmp_path / "h.safetensors").stdout
        assert "tau_norm, tau " in text
        assert "exact search; within one standard error of the best from " in text

    def test_the_best_of_an_exact_search_names_no_standard_error(self, project: Any, tmp_path: Path, done: Run) -> None:
        text = done("tune", "tau_norm", project.cache, "--out", tmp_path / "h.safetensors", "--select", "best").stdout
        assert "exact search" in text
        assert "standard error" not in text

    def test_an_interval_without_a_lower_end_is_minus_infinity(self, tmp_path: Path, done: Run) -> None:
        # Class 0 has norm e and logit e, class 1 norm 1 and logit 1: scores e^(1 - tau) and 1, right below tau = 1.
        head = LinearHead(torch.tensor([[math.e, 0.0], [0.0, 1.0]]))
        rows = np.tile(np.array([[1.0, 1.0]], np.float32), (6, 1))
        write(tmp_path / "x.cache", "val", rows, np.zeros(6, np.int64), head=head)
        text = done("tune", "tau_norm", tmp_path / "x.cache", "--out", tmp_path / "h.safetensors").stdout
        assert "from -∞ to 1\n" in text

    @pytest.mark.parametrize(("grid", "said"), [("0,0.5,2", True), ("0,2,3", False), ("0,2", False)])
    def test_a_best_value_at_the_end_of_its_grid_is_a_note(
        self, grid: str, said: bool, tmp_path: Path, done: Run
    ) -> None:
        # Scores e^(1 - tau) and 1: class 1 is right above tau = 1 only.
        head = LinearHead(torch.tensor([[math.e, 0.0], [0.0, 1.0]]))
        rows = np.tile(np.array([[1.0, 1.0]], np.float32), (6, 1))
        write(tmp_path / "x.cache", "val", rows, np.ones(6, np.int64), head=head)
        result = done(
            "tune", "tau_norm", tmp_path / "x.cache", "--out", tmp_path / "h.safetensors", "--grid", f"tau={grid}"
        )
        assert ("tau lies at an end of its grid" in result.stderr) is said

    def test_single_rows_are_a_note_on_stderr(self, project: Any, tmp_path: Path, done: Run) -> None:
        listed = project.model.with_name("joint.val.txt")
        words = ("--root", project.photos / "train", "--split", f"train={listed.with_name('joint.train.txt')}")
        done("extract", tmp_path / "x.cache", "--model", f"run:{project.model}", *words, "--split", f"val={listed}")
        result = done("tune", "crt", tmp_path / "x.cache", "--out", tmp_path / "h.safetensors")
        assert "3 of 4 classes have a single row in val" in result.stderr
        assert result.stderr.count("\n") == 1


class TestHonesty:
    """Rows the backbone was trained on choose nothing, unless it is asked for, and then the head says so."""

    @pytest.mark.parametrize("method", ["tau_norm", "crt"])
    def test_seen_rows_are_refused(self, method: str, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("tune", method, project.cache, "--out", tmp_path / "h.safetensors", "--on", "train")
        refused(*words, holds=("train cannot tune", "trained on these rows", "--on val", "--allow-seen"))
        assert not (tmp_path / "h.safetensors").exists()

    def test_allowed_they_mark_the_head(self, project: Any, tmp_path: Path, answer: Answer) -> None:
        words = ("--on", "train", "--allow-seen")
        record = answer("tune", "tau_norm", project.cache, "--out", tmp_path / "h.safetensors", *words)["record"]
        assert (record["tuned_on"], record["tuned_on_seen"]) == ("train", True)
        assert load_head(tmp_path / "h.safetensors").record["tuned_on_seen"] is True

    def test_rows_that_fit_never_judge(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("tune", "crt", project.cache, "--out", tmp_path / "h.safetensors", "--on", "train", "--allow-seen")
        refused(*words, holds=("crt would be judged on the rows it is fitted on",))


class TestRefused:
    """What cannot be tuned."""

    def test_a_split_that_is_not_there(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("tune", "crt", project.cache, "--out", tmp_path / "h.safetensors", "--on", "nosuch")
        refused(*words, holds=("'nosuch'", "train, val, test"))

    def test_a_method_without_hyperparameters(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        refused(
            "tune", "joint", project.cache, "--out", tmp_path / "h.safetensors", holds=("joint", "no hyperparameter")
        )

    def test_a_hyperparameter_of_another_method(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("tune", "crt", project.cache, "--out", tmp_path / "h.safetensors", "--grid", "tau=0:1:0.5")
        refused(*words, holds=("'tau'", "weight_decay, "))

    def test_a_kept_bias_without_a_grid(self, project: Any, tmp_path: Path, refused: Refused, done: Run) -> None:
        words = ("tune", "tau_norm", project.cache, "--out", tmp_path / "h.safetensors", "--bias", "keep")
        refused(*words, holds=("bias=keep", "--grid tau=0:2:0.1"))
        done(*words, "--grid", "tau=0:2:0.1")

    def test_everything_fixed(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        # It has hyperparameters; they are all given.
        words = ("tune", "tau_norm", project.cache, "--out", tmp_path / "h.safetensors", "--tau", "0.7")
        line = refused(*words, holds=("fit",))
        assert "has no hyperparameter" not in line

    def test_a_cache_without_training_rows(self, project: Any, tmp_path: Path, done: Run, refused: Refused) -> None:
        words = ("--model", f"run:{project.model}", "--split", f"val={project.photos / 'val'}")
        done("extract", tmp_path / "x.cache", *words)
        refused(
            "tune",
            "crt",
            tmp_path / "x.cache",
            "--out",
            tmp_path / "h.safetensors",
            holds=("'train'", "there are: val"),
        )
        done("tune", "tau_norm", tmp_path / "x.cache", "--out", tmp_path / "h.safetensors")
