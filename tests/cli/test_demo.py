"""The demo: one run, shared by all tests here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache, training
from rebalance import load_head
from rebalance_cli.demo import METHODS, YOUR_OWN


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, done: Callable[..., Result]) -> tuple[Path, Result]:
    """The folder of a demo and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    return folder, done("demo", folder)


@pytest.fixture(scope="module")
def again(shown: tuple[Path, Result], done: Callable[..., Result]) -> dict[str, Any]:
    """What a second demo in the same folder says as JSON."""
    result = done("demo", shown[0], "--json")
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_it_leaves_its_results(shown: tuple[Path, Result]) -> None:
    folder, _ = shown
    for method in METHODS:
        assert load_head(folder / f"{method}.safetensors").record["method"] == method
    assert list(FeatureCache(folder / "digits.cache")) == ["train", "val", "test"]
    assert (folder / "before-after.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [
            "joint.pt",
            "digits.cache",
            "before-after.png",
            "rebalanced.pt",
            "joint.log.csv",
            "joint.log.jsonl",
            *(f"{name}.safetensors" for name in METHODS),
        ]
    )


def test_it_shows_every_step_as_a_command_and_ends_with_those_for_own_data(shown: tuple[Path, Result]) -> None:
    folder, result = shown
    commands = [line.split()[2] for line in result.stdout.splitlines() if line.startswith("$ rebalance ")]
    assert commands == ["train", "extract", "fit", "fit", "tune", "fit", "evaluate", "export"]
    assert result.stdout.endswith(YOUR_OWN + "\n")
    assert "many > 40, medium 10..40, few < 10 training rows" in result.stdout
    assert str(folder / "before-after.png") in result.stdout


def test_all_five_heads_are_judged_and_every_rebalanced_one_wins_on_rare_classes(again: dict[str, Any]) -> None:
    heads = {head["name"]: head for head in again["heads"]}
    assert sorted(heads) == sorted(["joint", *METHODS])
    for method in METHODS:
        assert heads[method]["few"] > heads["joint"]["few"] + 0.05
        assert heads[method]["balanced"] > heads["joint"]["balanced"]
        assert heads[method]["marks"] == []  # nothing was fitted or tuned on test


def test_a_second_run_in_the_same_folder_gives_the_same_figures(
    shown: tuple[Path, Result], again: dict[str, Any]
) -> None:
    rows = [re.split(r"  +", line) for line in shown[1].stdout.splitlines()]
    for head in again["heads"]:
        row, _ = [row for row in rows if len(row) >= 9 and row[0] == head["name"]]  # one in either table
        figures = [f"{100 * head[name]:.1f}" for name in ("top1", "top5", "balanced", "many", "medium", "few")]
        assert [re.split("±| ", cell)[0] for cell in row[1:7]] == figures
    assert again["directory"] == str(shown[0])


def test_the_exported_head_is_the_one_chosen_on_validation(again: dict[str, Any]) -> None:
    chosen = load_head(Path(again["directory"]) / f"{again['chosen']}.safetensors")
    state = torch.load(again["checkpoint"], weights_only=True)
    assert torch.equal(state["classifier.weight"], chosen.weight)
    assert torch.equal(state["classifier.bias"], chosen.bias)


def test_it_removes_nothing_that_is_not_a_cache_and_says_so_at_once(
    tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("it trained first"))
    mine = tmp_path / "digits.cache" / "mine.txt"
    mine.parent.mkdir()
    mine.touch()
    result = run("demo", tmp_path)
    assert result.exit_code == 1
    assert "digits.cache: not a feature cache" in result.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_a_file_is_no_folder_for_it(tmp_path: Path, misused: Callable[..., str]) -> None:
    (tmp_path / "file").touch()
    misused("demo", tmp_path / "file", holds=("is a file",))
