"""Comparing: every method in one table, what is chosen where, what a second run does, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache, write
from rebalance import LinearHead, load_head
from rebalance_cli.choosing.options import DEFAULT

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]
FEW = ("--replicates", 0)  # no intervals: nothing here is about them


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the heads of the usual comparison are kept."""
    return tmp_path_factory.mktemp("compare") / "heads"


@pytest.fixture(scope="module")
def usual(project: Any, folder: Path, answer: Answer) -> dict[str, Any]:
    """The comparison as it is without options, as JSON."""
    return answer("compare", project.cache, "--heads", folder, "--replicates", 20)


def unseen(path: Path, *, joint: bool = True, val: bool = True, sure: bool = False) -> Path:
    """A cache of three classes, whose backbone saw no row; sure: its joint head is right on every row of val."""
    head = LinearHead(torch.eye(3, 5) * 9, torch.zeros(3) if sure else torch.tensor([9.0, 0.0, -9.0]))
    splits = {"train": (20, 9, 5), **({"val": (5, 5, 5)} if val else {}), "test": (6, 6, 6)}
    for number, (split, counts) in enumerate(splits.items()):
        labels = np.repeat(np.arange(3), counts)
        noise = 0.05 if sure else 1.0
        rows = 2 * np.eye(3, 5)[labels] + np.random.default_rng(number).normal(0, noise, size=(len(labels), 5))
        write(path, split, rows.astype(np.float32), labels, head=head if joint else None, seen=False)
    return path


class TestUsual:
    """All that is compared without options."""

    def test_every_method_is_a_row_the_best_first(self, usual: dict[str, Any]) -> None:
        names = [head["name"] for head in usual["heads"]]
        assert usual["failed"] == []
        on_top = f"{usual['chosen']} + temperature"
        assert sorted(names) == sorted([*DEFAULT[:-1], on_top])
        values = [head["balanced"] for head in usual["heads"]]
        assert values == sorted(values, reverse=True)
        assert (usual["split"], usual["chosen_on"]) == ("test", "val")

    def test_it_is_chosen_by_the_rows_that_are_not_reported(self, usual: dict[str, Any], project: Any) -> None:
        val = FeatureCache(project.cache)["val"]
        validation = usual["validation"]
        assert list(validation) == list(DEFAULT[:-1])
        rows = torch.from_numpy(np.array(val.features)).float()
        for head in usual["heads"]:
            if head["file"] is None or "+" in head["name"]:
                continue
            right = load_head(head["file"])(rows).argmax(1).numpy() == val.labels
            recall = [right[val.labels == k].mean() for k in range(4)]
            assert validation[head["name"]] == pytest.approx(np.mean(recall), abs=1e-12)
        assert usual["chosen"] == max(validation, key=lambda name: validation[name])

    def test_no_row_is_optimistic(self, usual: dict[str, Any]) -> None:
        assert [head["marks"] for head in usual["heads"]] == [[]] * len(usual["heads"])

    def test_what_made_it_is_in_the_payload(self, usual: dict[str, Any], folder: Path, project: Any) -> None:
        options = usual["provenance"]["options"]
        said = {"on": "val", "metric": "balanced", "select": "1se", "folds": None, "allow_seen": False}
        assert said.items() <= options.items()
        assert options["heads"] == str(folder)
        for head in usual["heads"]:
            assert head["seconds"] >= 0
            assert head["reused"] is False
            if head["name"] != "joint":
                assert Path(head["file"]).parent == folder
                assert head["record"] == load_head(head["file"]).record
                assert head["record"]["cache"] == FeatureCache(project.cache).hash

    def test_the_second_time_all_heads_are_reused(
        self, usual: dict[str, Any], project: Any, folder: Path, run: Run
    ) -> None:
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        result = run("compare", project.cache, "--heads", folder, "--replicates", 20, "--json")
        again = json.loads(result.stdout)
        assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
        changes = {"seconds", "reused"}
        for one, two in zip(usual["heads"], again["heads"], strict=True):
            assert {key: one[key] for key in one.keys() - changes} == {key: two[key] for key in two.keys() - changes}
            assert two["reused"] is (two["name"] != "joint")
        assert {key: usual[key] for key in usual if key != "heads"} == {
            key: again[key] for key in usual if key != "heads"
        }
        lines = result.stderr.splitlines()
        assert [line.split()[0] for line in lines] == [f"{n}/11" for n in range(1, 12)]
        assert sum(": reused, " in line for line in lines) == 10

    def test_one_lost_file_is_made_again_and_no_other(
        self, usual: dict[str, Any], project: Any, folder: Path, answer: Answer
    ) -> None:
        lost, kept = (next(head for head in usual["heads"] if head["name"] == name) for name in ("crt", "lda"))
        whole, stamp = load_head(lost["file"]), Path(kept["file"]).stat().st_mtime_ns
        Path(lost["file"]).unlink()
        answer("compare", project.cache, "--heads", folder, "--methods", "crt,lda", *FEW)
        again = load_head(lost["file"])
        assert torch.equal(again.weight, whole.weight)
        assert again.record == whole.record
        assert Path(kept["file"]).stat().st_mtime_ns == stamp


@pytest.mark.parametrize("method", ["crt", "tau_norm", "ncm"])
@pytest.mark.parametrize("words", [(), ("--seed", 3, "--select", "best", "--metric", "top1")])
def test_a_head_is_that_of_tune_with_the_same_options(
    method: str, words: tuple[object, ...], project: Any, tmp_path: Path, done: Run, answer: Answer
) -> None:
    done("tune", method, project.cache, "--out", tmp_path / "h.safetensors", *words)
    found = answer("compare", project.cache, "--methods", method, "--heads", tmp_path / "heads", *words, *FEW)
    mine = load_head(next(head["file"] for head in found["heads"] if head["name"] == method))
    tuned = load_head(tmp_path / "h.safetensors")
    assert mine.tensors().keys() == tuned.tensors().keys()
    assert all(torch.equal(mine.tensors()[name], tensor) for name, tensor in tuned.tensors().items())
    assert {key: mine.record[key] for key in tuned.record} == tuned.record


def test_what_cannot_be_tuned_is_what_fit_makes(project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
    done("fit", "vector_scaling", project.cache, "--out", tmp_path / "h.safetensors")
    words = ("--methods", "vector_scaling", "--heads", tmp_path / "heads")
    found = answer("compare", project.cache, *words, *FEW)
    mine = load_head(next(head["file"] for head in found["heads"] if head["name"] == "vector_scaling"))
    assert torch.equal(mine.weight, load_head(tmp_path / "h.safetensors").weight)
    assert list(found["validation"]) == ["joint"]  # the rows of val fitted it, and so cannot choose it


class TestHeadsGiven:
    """Files besides, which are judged and choose nothing."""

    def test_they_are_rows_and_may_be_chosen(self, project: Any, tmp_path: Path, answer: Answer) -> None:
        words = ("--methods", "ncm,lda", "--heads", tmp_path / "heads", *FEW)
        found = answer("compare", project.cache, project.heads["crt"], project.heads["ncm"], *words)
        assert {head["name"] for head in found["heads"]} == {"joint", "ncm", "lda", "crt", "ncm-2"}
        assert set(found["validation"]) == {"joint", "ncm", "lda", "crt", "ncm-2"}
        files = {head["name"]: head["file"] for head in found["heads"]}
        assert files["ncm-2"] == str(project.heads["ncm"])

    def test_one_fitted_on_the_rows_that_choose_is_not_chosen(
        self, project: Any, tmp_path: Path, answer: Answer
    ) -> None:
        words = ("--methods", "joint", "--heads", tmp_path / "heads", *FEW)
        found = answer("compare", project.cache, project.heads["vector_scaling"], *words)
        assert set(found["validation"]) == {"joint"}

    def test_one_of_another_cache_is_refused_before_the_work(
        self, project: Any, tmp_path: Path, refused: Refused
    ) -> None:
        other = unseen(tmp_path / "x.cache")
        refused("compare", other, project.heads["crt"], holds=(project.heads["crt"], "use a head fitted on this cache"))
        assert not (tmp_path / "x.heads").exists()


class TestChosen:
    """The last lines: which head, and how to use it."""

    def test_the_command_that_exports_it_works(self, project: Any, folder: Path, usual: Any, done: Run) -> None:
        del usual
        words = ("compare", project.cache, "--heads", folder, "--methods", "crt,tau_norm", *FEW)
        said, to_use = done(*words).stdout.splitlines()[-2:]
        assert said.startswith("chosen on val: ")
        line = to_use.removeprefix("to use it: rebalance ").split()
        assert line[0] == "export"
        assert line[3] == str(project.model)
        done(*line[:-1], folder.parent / "rebalanced.pt")
        assert (folder.parent / "rebalanced.pt").is_file()

    def test_where_the_joint_head_is_best_nothing_is_to_be_used(self, tmp_path: Path, done: Run) -> None:
        text = done("compare", unseen(tmp_path / "x.cache", sure=True), "--methods", "tau_norm", *FEW).stdout
        assert text.endswith(
            "chosen on val: joint (balanced 100.0 %)\n"
            "no head is better than the joint one on val: leave the model as it is\n"
        )

    def test_beside_the_cache_without_another_place(self, tmp_path: Path, done: Run) -> None:
        done("compare", unseen(tmp_path / "x.cache"), "--methods", "ncm", *FEW)
        assert [path.name[:4] for path in (tmp_path / "x.heads").iterdir()] == ["ncm-"]


class TestWhereItChooses:
    """The split that chooses."""

    def test_the_reported_split_marks_every_row_and_is_said(self, project: Any, tmp_path: Path, run: Run) -> None:
        words = ("--split", "val", "--methods", "ncm,tau_norm", "--heads", tmp_path / "heads", *FEW, "--json")
        result = run("compare", project.cache, *words)
        assert result.exit_code == 0
        assert (
            "rebalance: val both chooses and is reported: the figures are optimistic" in result.stderr.splitlines()[0]
        )
        marks = {head["name"]: head["marks"] for head in json.loads(result.stdout)["heads"]}
        assert marks == {"joint": [], "ncm": ["tuned on val"], "tau_norm": ["tuned on val"]}

    def test_rows_that_the_backbone_saw_are_refused(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("--on", "train", "--heads", tmp_path / "heads")
        refused("compare", project.cache, *words, holds=("train cannot tune", "--on val", "--allow-seen"))
        assert not (tmp_path / "heads").exists()

    def test_allowed_they_mark_the_heads(self, project: Any, tmp_path: Path, answer: Answer) -> None:
        words = ("--on", "train", "--allow-seen", "--methods", "tau_norm,crt", "--heads", tmp_path / "heads", *FEW)
        found = answer("compare", project.cache, *words)
        marks = {head["name"]: head["marks"] for head in found["heads"]}
        assert marks["tau_norm"] == ["tuned on rows the backbone was trained on"]
        assert [failed["name"] for failed in found["failed"]] == ["crt"]  # rows that fit never judge

    def test_without_a_split_to_choose_on_it_says_what_to_do(self, tmp_path: Path, refused: Refused) -> None:
        words = ("compare", unseen(tmp_path / "x.cache", val=False))
        refused(*words, holds=("'val' to choose on", "train, test", "--on", "extract", "--folds 5"))

    def test_folds_choose_on_train(self, tmp_path: Path, answer: Answer) -> None:
        words = ("--folds", 3, "--methods", "crt,tau_norm,temperature", *FEW)
        found = answer("compare", unseen(tmp_path / "x.cache", val=False), *words)
        assert found["chosen_on"] == "train"
        assert set(found["validation"]) == {"joint", "crt", "tau_norm"}
        (failed,) = found["failed"]  # no split is left to calibrate on
        assert failed["name"].endswith(" + temperature")
        assert "no split val" in failed["why"]

    def test_folds_and_a_split_contradict(self, project: Any, misused: Refused) -> None:
        misused("compare", project.cache, "--folds", 3, "--on", "val", holds=("rows of train",))


class TestFailures:
    """Methods that cannot work here."""

    def test_they_are_rows_that_say_why(self, tmp_path: Path, run: Run) -> None:
        cache = unseen(tmp_path / "x.cache", joint=False)
        result = run("compare", cache, "--methods", "crt,lws,tau_norm", *FEW)
        assert result.exit_code == 0
        for name in ("lws", "tau_norm"):
            assert f"{name}: failed: {name} changes a trained head and none was given" in result.stdout
            assert f"/3 {name}: failed: " in result.stderr
        found = json.loads(run("compare", cache, "--methods", "crt,lws", *FEW, "--json").stdout)
        assert ([head["name"] for head in found["heads"]], found["chosen"]) == (["crt"], "crt")
        assert found["failed"][0]["name"] == "lws"

    def test_nothing_but_joint_is_exit_code_1(self, tmp_path: Path, run: Run) -> None:
        cache = unseen(tmp_path / "x.cache")
        (tmp_path / "heads").mkdir()
        result = run("compare", cache, "--methods", "joint", *FEW)
        assert result.exit_code == 1
        assert "joint" in result.stdout
        assert result.stderr.splitlines()[-1] == "rebalance: no head but the joint one could be judged"

    def test_no_head_at_all_is_refused_in_one_line_after_the_progress(self, tmp_path: Path, run: Run) -> None:
        cache = unseen(tmp_path / "x.cache", joint=False)
        result = run("compare", cache, "--methods", "lws,tau_norm", *FEW)
        assert (result.exit_code, result.stdout) == (1, "")
        lines = result.stderr.splitlines()
        assert len(lines) == 3
        assert lines[-1].startswith(f"rebalance: {cache}: no head to judge: lws: ")

    def test_a_damaged_cache_is_refused_before_the_work(self, tmp_path: Path, refused: Refused) -> None:
        cache = unseen(tmp_path / "x.cache")
        shard = cache / "train" / "00000.h5"
        data = bytearray(shard.read_bytes())
        header = json.loads(data[16 : 16 + int.from_bytes(data[8:12], "little")])
        data[header["columns"]["features"]["offset"]] ^= 1
        shard.write_bytes(data)
        refused("compare", cache, holds=(shard, "checksum"))

    @pytest.mark.parametrize("words", [("--split", "nosuch"), ("--target-prior", "nosuch.txt")])
    def test_what_cannot_be_judged_is_refused_before_the_work(
        self, words: tuple[str, ...], project: Any, tmp_path: Path, refused: Refused
    ) -> None:
        refused("compare", project.cache, "--heads", tmp_path / "heads", *words, holds=("nosuch",))
        assert not (tmp_path / "heads").exists()

    def test_strangers_names_never_reach_the_terminal(self, tmp_path: Path, run: Run) -> None:
        cache = unseen(tmp_path / "x.cache")
        hostile = tmp_path / "\x1b[31mred.safetensors"
        LinearHead(torch.eye(3, 5), record={"note": "\x1b[2J", "method": "\x1b[2J"}).save(hostile)
        result = run("compare", cache, hostile, "--methods", "ncm", *FEW)
        assert result.exit_code == 0, result.output
        assert all(line.isprintable() for line in result.output.split("\n"))
