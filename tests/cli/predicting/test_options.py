"""The options of `predict`: those of `extract` where they mean the same, and values that make no sense."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click
import pytest

from rebalance_cli.extract import extract
from rebalance_cli.predict import predict
from rebalance_cli.predicting.options import Answers, Through, of_extract

SHARED = ("source", "checkpoint", "ema", "layer", "image_size", "transform", "root", "batch_size", "workers")


def option(command: click.Command, name: str) -> Any:
    """An option by the name of its value."""
    return next(each for each in command.params if each.name == name)


@pytest.mark.parametrize("name", [*SHARED, "on_bad_image"])
def test_options_of_extract_are_the_same_here(name: str) -> None:
    mine, theirs = (option(command, name) for command in (predict, extract))
    assert (mine.opts, mine.type, mine.default, mine.multiple) == (
        theirs.opts,
        theirs.type,
        theirs.default,
        theirs.multiple,
    )
    assert (mine.help == theirs.help) == (name in SHARED)


def test_a_change_stays_here() -> None:
    assert option(extract, "source").required
    assert not option(predict, "source").required

    @click.command()
    @of_extract("workers", help="Hands.")
    def command(workers: int) -> None:
        """A command."""

    assert (option(command, "workers").help, option(extract, "workers").help != "Hands.") == ("Hands.", True)


def test_whether_a_model_was_asked_for() -> None:
    assert not Through(None, None, False, None, None, ()).given
    assert Through(None, None, True, None, None, ()).given
    assert Through("run:x.pt", None, False, None, None, ()).given


def test_answers(tmp_path: Path) -> None:
    Answers(tmp_path / "p.CSV", 1, None, None)
    Answers(tmp_path / "p.parquet", 3, "forward:50", "uniform")
    for name, says in (
        ("p.txt", r"expected a name that ends in \.csv or \.parquet"),
        ("p", r"expected a name that ends in \.csv or \.parquet"),
        ("no/p.csv", "no such folder: .*no;"),
        ("", "a folder; expected the name of"),
    ):
        with pytest.raises(ValueError, match=says):
            Answers(tmp_path / name, 1, None, None)
    with pytest.raises(ValueError, match="--target-prior backward:0"):
        Answers(tmp_path / "p.csv", 1, "backward:0", None)
    with pytest.raises(ValueError, match=r"--source-prior 'sky': no such file"):
        Answers(tmp_path / "p.csv", 1, "uniform", "sky")
    with pytest.raises(click.UsageError, match="give that too"):
        Answers(tmp_path / "p.csv", 1, None, "uniform")
    with pytest.raises(click.UsageError, match=r"--cache .* give that too"):
        Answers(tmp_path / "p.csv", 1, None, None, tmp_path)


def test_parquet_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"featurecache-rebalance\[parquet\]"):
        Answers(tmp_path / "p.parquet", 1, None, None)


def test_the_file_is_apart_from_what_is_read(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "p.csv", 1, None, None)
    answers.check_apart("joint", tmp_path / "nosuch", None, str(tmp_path / "p.csv"))  # it is not there yet
    (tmp_path / "p.csv").touch()
    (tmp_path / "list.csv").symlink_to(tmp_path / "p.csv")
    answers.check_apart(tmp_path, "joint")
    with pytest.raises(ValueError, match="is itself an input"):
        answers.check_apart("joint", str(tmp_path / "list.csv"))
