"""A command for every method, made from its signature and docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import click
import pytest

from rebalance import METHODS
from rebalance.methods import hyperparameters
from rebalance_cli.method_options import (
    MethodGroup,
    described,
    help_text,
    method_command,
    method_options,
    parameter_help,
    summary,
)
from rebalance_cli.tune import tune

PARAMETERS = [
    (method, name)
    for method, line in METHODS.items()
    for name in hyperparameters(line.function)
    if name != "seed"  # every command's option
]


def made_up(
    head: object,
    features: object,
    labels: object,
    *,
    rate: float = 0.5,
    steps: int = 3,
    kind: Literal["a", "b"] = "a",
    exact: bool = False,
    tol: float | None = None,
    seed: int = 0,
    counts: list[int] | None = None,
) -> None:
    """A method of ``no`` use.

    head: not used. features, labels: not used either, and said
    over two lines.
    rate: how fast
    it goes, in steps.
    steps: as many.
    kind: a one, b the other. A sentence more.
    exact: or not.
    tol: as in the paper (
    Greek letters there), or none.
    seed: of the order.
    A class without rows stays as it is.

    It is convex.
    Source: nobody (2020), section 1.
    """


def test_summary_is_the_first_line_without_markup() -> None:
    assert summary(made_up) == "A method of no use."


def test_help_leaves_the_parameters_to_the_options() -> None:
    assert help_text(made_up).split("\n\n") == [
        "A method of no use.",
        "A class without rows stays as it is.",
        "It is convex.",
        "Source: nobody (2020), section 1.",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rate", "How fast it goes, in steps."),
        ("steps", "As many."),
        ("kind", "A one, b the other. A sentence more."),
        ("exact", "Or not."),
        ("tol", "As in the paper ( Greek letters there), or none."),
        ("nosuch", ""),
    ],
)
def test_parameter_help_is_its_line_with_what_it_goes_on_in(name: str, text: str) -> None:
    assert parameter_help(made_up, name) == text


def test_an_option_a_hyperparameter_that_fits_a_command_line() -> None:
    options = {str(option.name): option for option in method_options(made_up)}
    # The counts come from the cache, the seed is every command's.
    assert list(options) == ["rate", "steps", "kind", "exact", "tol"]
    assert [option.default for option in options.values()] == [None] * 5
    types = [option.type for option in options.values() if option.name != "kind"]
    assert types == [click.FLOAT, click.INT, click.BOOL, click.FLOAT]
    assert options["tol"].help == "As in the paper ( Greek letters there), or none."
    assert list(options["kind"].type.choices) == ["a", "b"]
    assert options["rate"].help == "How fast it goes, in steps.  [default: 0.5]"


@pytest.mark.parametrize(("words", "expected"), [([], {}), (["--seed", "3", "--weight-decay", "0.1"], {"seed": 3})])
def test_the_seed_of_the_command_is_the_methods(words: list[str], expected: dict[str, int]) -> None:
    seen: list[dict[str, Any]] = []

    def keep(*, method: str, hyperparameters: dict[str, Any], common: Any) -> None:
        seen.append(hyperparameters)

    for name in ("crt", "ncm"):
        given = words[:2] if name == "ncm" else words
        method_command(name, keep, params=[], epilog="").main(given, standalone_mode=False)
    decay = {"weight_decay": 0.1} if words else {}
    assert seen == [{**expected, **decay}, {}]


def test_a_value_is_shown_in_a_few_characters() -> None:
    assert described("tau", 1.23456789) == "tau 1.235"
    assert described("bias", "drop") == "bias drop"
    assert described("target_prior", [0.1] * 1000) == "target_prior of 1000 numbers"


def unwrapped(text: str) -> str:
    """The text on one line; lines are also broken behind a hyphen."""
    return " ".join(text.split()).replace("- ", "-")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_itself(method: str, done: Callable[..., Any]) -> None:
    function = METHODS[method].function
    text = help_text(function)
    assert summary(function).endswith(".")
    assert text.startswith(summary(function))
    assert "Source: " in text
    assert "``" not in text
    assert "features:" not in text
    assert "ValueError" not in text  # whoever reads this types commands, not Python
    assert unwrapped(text) in unwrapped(done("fit", method, "--help").stdout)


@pytest.mark.parametrize(("method", "name"), PARAMETERS)
def test_every_hyperparameter_is_an_option_with_help(method: str, name: str, done: Callable[..., Any]) -> None:
    function = METHODS[method].function
    default = inspect.signature(function).parameters[name].default
    text = parameter_help(function, name)
    assert len(text.split()) >= 3
    shown = unwrapped(done("fit", method, "--help").stdout)
    assert f" --{name.replace('_', '-')} " in shown
    assert unwrapped(f"{text} [default: {default}]" if default is not None else text) in shown


@pytest.mark.parametrize("group", ["fit", "tune"])
def test_the_group_lists_the_methods(group: str, done: Callable[..., Any]) -> None:
    text = " ".join(done(group, "--help").stdout.split())
    for method, line in METHODS.items():
        assert f" {method} {summary(line.function)}" in text


def test_an_unknown_method_is_wrong_usage(misused: Callable[..., str]) -> None:
    misused("tune", "nosuch", "x.cache", "--out", "h", holds=("nosuch",))


def test_a_group_builds_only_what_is_asked_for() -> None:
    built: list[str] = []

    def build(name: str) -> click.Command:
        built.append(name)
        return click.Command(name)

    group = MethodGroup(name="group", build=build, help="Help.", epilog="")
    context = click.Context(group)
    assert group.get_command(context, "nosuch") is None
    assert group.get_command(context, "crt") is not None
    assert (built, group.list_commands(context)) == (["crt"], list(METHODS))
    assert isinstance(tune, MethodGroup)
