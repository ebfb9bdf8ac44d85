"""Options that every command has, and the values that several take."""

from __future__ import annotations

import re

import click
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rebalance_cli.options import Common, common, example, parse_shots, shots, shots_option


@click.command()
@shots_option
@common
def _echo(shots: tuple[int, int], common: Common) -> None:
    click.echo(f"{shots} {common}")


def parsed(value: str) -> tuple[int, int]:
    few, many = parse_shots(click.Context(_echo), _echo.params[0], value)
    return few, many


@given(few=st.integers(-5, 300), many=st.integers(-5, 300))
def test_shots_are_two_bounds_in_order(few: int, many: int) -> None:
    text = f"{few},{many}"
    if 0 <= few <= many:
        assert parsed(text) == (few, many)
    else:
        with pytest.raises(click.BadParameter, match=re.escape(repr(text))):
            parsed(text)


@pytest.mark.parametrize("text", ["", "20", "20,", ",", "1,2,3", "a,b", "1.5,2", "20;100", "nan,1"])
def test_other_shots_are_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected few,many such as 20,100"):
        parsed(text)


def test_shots_become_the_bounds_of_the_groups() -> None:
    assert (shots((10, 40)).few, shots((10, 40)).many) == (10, 40)


def test_defaults() -> None:
    result = CliRunner().invoke(_echo, [])
    assert result.output == f"(20, 100) {Common(False, 0, 'auto')}\n"


def test_all_given() -> None:
    result = CliRunner().invoke(_echo, ["--shots", "0,0", "--json", "--seed", "7", "--device", "cpu", "-v"])
    assert result.output == f"(0, 0) {Common(True, 7, 'cpu')}\n"


@pytest.mark.parametrize(
    ("asked", "available", "device"),
    [
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
def test_device(asked: str, available: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert Common(False, 0, asked).device == torch.device(device)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no CUDA device here; use --device cpu or auto"):
        _ = Common(False, 0, "cuda").device


def test_examples_keep_their_lines() -> None:
    @click.command(epilog=example("rebalance one", "rebalance two " + 20 * "long " + "end"))
    def command() -> None: ...

    text = CliRunner().invoke(command, ["--help"]).output
    assert text.endswith(f"Example:\n    rebalance one\n    rebalance two {20 * 'long '}end\n")
