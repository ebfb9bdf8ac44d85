"""A command for every method: its options and their help come from the method's signature and docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import click

from .launch import shared
from .options import Common, common_options
from .parameter_types import click_type


class MethodGroup(click.Group):
    """One subcommand a method of the registry; the methods are imported when they are asked for.

    build: the command of a method, given its name.
    """

    def __init__(
        self, *, name: str, build: Callable[[str], click.Command], help: str, epilog: str, short_help: str | None = None
    ) -> None:
        super().__init__(
            name=name,
            help=help,
            short_help=short_help,
            epilog=epilog,
            subcommand_metavar="METHOD CACHE [OPTIONS]",
        )
        self._build = build

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The methods' names."""
        from rebalance import METHODS

        return list(METHODS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a method, or None."""
        return self._build(cmd_name) if cmd_name in self.list_commands(ctx) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The method that the first word names; a usage error that lists the methods for any other word."""
        if args and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"no method {args[0]!r}; there are {', '.join(self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the methods under their own heading."""
        from rebalance import METHODS

        with formatter.section("Methods"):
            formatter.write_dl([(name, summary(method.function)) for name, method in METHODS.items()])


def method_command(
    name: str,
    run: Callable[..., Any],
    *,
    params: list[click.Parameter],
    searched: frozenset[str] = frozenset(),
    epilog: str,
) -> click.Command:
    """The command of one method.

    run: called with ``method, hyperparameters, common`` and the values of `params`. params: of the command itself.
    searched: hyperparameters that have no default here, because they are looked for unless they are given.
    """
    from rebalance import METHODS

    function = METHODS[name].function
    own = method_options(function, searched)
    drawn = inspect.signature(function).parameters

    def callback(as_json: bool, seed: int, device_name: str, **values: Any) -> Any:
        given = {str(option.name): values.pop(str(option.name)) for option in own}
        chosen = {key: value for key, value in given.items() if value is not None}
        if "seed" in drawn and seed != drawn["seed"].default:
            chosen["seed"] = seed
        with shared():
            return run(method=name, hyperparameters=chosen, common=Common(as_json, seed, device_name), **values)

    return click.Command(
        name,
        callback=callback,
        params=[*params, *own, *common_options()],
        help=help_text(function),
        short_help=summary(function),
        epilog=epilog,
    )


def method_options(function: Callable[..., Any], searched: frozenset[str] = frozenset()) -> list[click.Option]:
    """An option a hyperparameter; not given means the method's default, which the help names.

    The seed is none of them: every command has that option anyway.
    searched: parameters for which not given means that a value is looked for.
    """
    from rebalance.methods import hyperparameters

    parameters = inspect.signature(function, eval_str=True).parameters
    return [
        click.Option(
            [f"--{name.replace('_', '-')}", name],
            type=click_type(parameters[name].annotation),
            default=None,
            help=f"{parameter_help(function, name)}{_unless_given(parameters[name].default, name in searched)}",
        )
        for name in hyperparameters(function)
        if name != "seed" and click_type(parameters[name].annotation) is not None
    ]


def _unless_given(default: Any, searched: bool) -> str:
    """What the help says of an option that is not given; nothing where the method sees to it."""
    return "  [searched unless given]" if searched else f"  [default: {default}]" if default is not None else ""


def described(name: str, value: Any) -> str:
    """A hyperparameter and its value in a few characters."""
    if isinstance(value, list):
        return f"{name} of {len(value)} numbers"
    return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"


def parameter_help(function: Callable[..., Any], name: str) -> str:
    """The line of the docstring that begins with ``name:``, and those it goes on in."""
    lines = inspect.getdoc(function) or ""
    # It ends at a blank line, at the next name, and where a sentence ends with the line and another begins.
    found = re.search(rf"^{name}: (.*(?:\n(?!\w+: |$|(?<=\.\n)[A-Z]).*)*)", lines, flags=re.MULTILINE)
    text = " ".join(found.group(1).split()) if found else ""
    return text[:1].upper() + text[1:]


def summary(function: Callable[..., Any]) -> str:
    """The first line of the docstring."""
    return (inspect.getdoc(function) or "").split("\n")[0].replace("``", "")


def help_text(function: Callable[..., Any]) -> str:
    """The docstring without its lines on parameters, which stand at the options."""
    names = "|".join(inspect.signature(function).parameters)
    kept: list[str] = []
    skipping, ended = False, True
    for line in (inspect.getdoc(function) or "").split("\n"):
        # What is raised is for who calls the function; a command says it when it happens.
        starts = re.match(rf"({names})(, ({names}))*: |ValueError ", line) is not None
        skipping = starts or (skipping and bool(line) and not (ended and line[0].isupper()))
        if not skipping:
            kept += [""] * line.startswith("Source:") + [line.replace("``", "")]
        ended = line.endswith(".")
    return "\n".join(kept)
