"""Options that belong together arrive as one argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import click
from click.testing import CliRunner

from rebalance_cli.gathered import Sectioned, gathered


@dataclass(frozen=True)
class Paint:
    colour: str
    coats: int


class Painting(Sectioned):
    sections: ClassVar = {"Colours": Paint}


@click.command(cls=Painting)
@click.option("--before", default="b")
@gathered(
    "paint",
    Paint,
    click.option("--colour", required=True, help="Which."),
    click.option("--coats", type=int, default=2, help="How many."),
)
@click.argument("wall")
def command(wall: str, paint: Paint, before: str) -> None:
    click.echo(f"{wall} {paint.colour} {paint.coats} {before}")


def test_they_arrive_as_one_argument_beside_the_others() -> None:
    assert CliRunner().invoke(command, ["north", "--colour", "red"]).output == "north red 2 b\n"
    assert CliRunner().invoke(command, ["north", "--coats", "3", "--colour", "red"]).output == "north red 3 b\n"


def test_the_help_keeps_their_order() -> None:
    page = CliRunner().invoke(command, ["--help"]).output
    assert page.index("--before") < page.index("--colour") < page.index("--coats")


def test_they_stand_under_their_heading_and_the_others_before_it() -> None:
    page = CliRunner().invoke(command, ["--help"]).output
    assert page.index("Options:") < page.index("--before") < page.index("--help") < page.index("Colours:")
    assert page.index("Colours:") < page.index("--colour")


def test_a_missing_one_is_wrong_usage() -> None:
    assert CliRunner().invoke(command, ["north"]).exit_code == 2
