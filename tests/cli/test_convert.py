"""The command that converts: which way it goes, and which options mean something on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from featurecache.convert import FORMATS
from rebalance_cli.convert import convert

Run = Callable[..., Result]
Refused = Callable[..., str]


def test_the_formats_offered_are_those_there_are() -> None:
    (to,) = [parameter for parameter in convert.params if parameter.name == "to"]
    assert set(to.type.choices) == {each.name for each in FORMATS if each.save}  # type: ignore[attr-defined]


def test_what_it_is_taken_for_is_said(archive: Path, cache: Path, project: Any, tmp_path: Path, done: Run) -> None:
    def first(*words: object) -> str:
        return done("convert", *words).stdout.splitlines()[0].rpartition(": ")[2]

    assert first(archive, tmp_path / "y.cache", "--map", "features=feats,labels=classes") == "a .npz file"
    assert first(cache, tmp_path / "out.h5") == "feature cache"
    assert first(project.heads["crt"], tmp_path / "head.pt") == "head"
    assert first(tmp_path / "head.pt", tmp_path / "head.safetensors") == "a PyTorch file"


@pytest.mark.parametrize("options", [["--split", "a"], ["--map", "labels=y"], ["--seen", "no"], ["--dtype", "float32"]])
def test_options_of_the_other_direction(
    options: list[str], cache: Path, archive: Path, tmp_path: Path, misused: Refused
) -> None:
    misused("convert", cache, tmp_path / "o", "--to", "npz", *options, holds=(options[0], "IN is a cache"))
    misused("convert", archive, tmp_path / "o", "--to", "npz", holds=("--to", "IN is no cache"))


@pytest.mark.parametrize("text", ["features", "=x", "labels=a,labels=b"])
def test_a_map_that_is_none(text: str, archive: Path, tmp_path: Path, misused: Refused) -> None:
    misused("convert", archive, tmp_path / "o", "--map", text, holds=("OURS=THEIRS",))


@pytest.mark.parametrize(
    ("source", "target", "options", "said"),
    [
        ("head.safetensors", "out.npz", ["--map", "weight=w"], "IN is a head"),
        ("head.safetensors", "out.pt", ["--class-names", "x"], "IN is a head"),
        ("head.npz", "out.safetensors", ["--split", "train"], "OUT is a head"),
        ("head.npz", "out.safetensors", ["--dtype", "float32"], "OUT is a head"),
        ("head.npz", "out.safetensors", ["--to", "npz"], "OUT is a head"),
    ],
)
def test_options_that_mean_nothing_for_a_head(
    source: str, target: str, options: list[str], said: str, tmp_path: Path, misused: Refused
) -> None:
    misused("convert", tmp_path / source, tmp_path / target, *options, holds=(f"{options[0]} means nothing here", said))
