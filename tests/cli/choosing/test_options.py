"""The options of compare: names of methods, and where the page goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from rebalance import METHODS
from rebalance_cli.choosing.options import DEFAULT, page_file, parse_methods

Refused = Callable[..., str]
OPTION = click.Option(["--methods"])


def parsed(text: str) -> tuple[str, ...]:
    return parse_methods(click.Context(click.Command("compare")), OPTION, text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("crt", ("crt",)),
        ("lws,crt", ("lws", "crt")),
        (" crt , lws ,", ("crt", "lws")),
        ("crt,crt,lws,crt", ("crt", "lws")),
        ("all", tuple(METHODS)),
        ("crt,all", tuple(METHODS)),
    ],
)
def test_names(text: str, names: tuple[str, ...]) -> None:
    assert parsed(text) == names


def test_the_usual_ones_are_in_the_registry_the_papers_five_first() -> None:
    assert parsed(",".join(DEFAULT)) == DEFAULT
    assert DEFAULT[:5] == ("joint", "ncm", "crt", "tau_norm", "lws")
    assert DEFAULT[-1] == "temperature"


@pytest.mark.parametrize("text", ["nosuch", "crt,nosuch", "", ",", "CRT"])
def test_any_other_name_lists_those_there_are(text: str) -> None:
    with pytest.raises(click.BadParameter, match="there are joint, ncm, crt") as error:
        parsed(text)
    assert all(name in error.value.message for name in METHODS)


def test_wrong_usage_comes_before_the_cache(misused: Refused) -> None:
    misused("compare", "nowhere.cache", "--methods", "crt,nosuch", holds=("no method 'nosuch'", "tau_norm"))
    misused("compare", "nowhere.cache", "--folds", 1, holds=("--folds",))
    misused("compare", "nowhere.cache", "--metric", "f1", holds=("balanced",))


@pytest.mark.parametrize("name", ["r.html", "R.HTM"])
def test_a_page(name: str, tmp_path: Path) -> None:
    assert page_file(click.Context(click.Command("compare")), OPTION, tmp_path / name) == tmp_path / name


@pytest.mark.parametrize("name", ["r.pdf", "r", "nowhere/r.html", "folder.html"])
def test_a_page_that_cannot_be_written_is_refused_before_the_work(
    name: str, project: Any, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "folder.html").mkdir()
    words = ("--out", tmp_path / name, "--heads", tmp_path / "heads")
    refused("compare", project.cache, *words, holds=(tmp_path / name, ".html"))
    assert not (tmp_path / "heads").exists()
