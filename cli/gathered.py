"""Options of a command as one argument of its function: what belongs together arrives together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def gathered(name: str, kind: type[Any], *options: Decorator) -> Callable[[F], F]:
    """A decorator that gives a command some options and its function one argument.

    name: of the argument. kind: a dataclass whose fields are called like the options. options: click.option(…) each,
    in the order of the help.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def wrapper(*args: Any, **given: Any) -> Any:
            own = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            return function(*args, **{name: own}, **given)

        command: Any = wrapper
        for option in reversed(options):
            command = option(command)
        return command  # type: ignore[no-any-return]

    return decorate


class Sectioned(click.Command):
    """A command whose help lists its options under headings; what belongs to none comes first.

    sections: by heading, the dataclass whose fields are called like the options.
    """

    sections: ClassVar[dict[str, type[Any]]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        under = {field.name: heading for heading, kind in self.sections.items() for field in fields(kind)}
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ("Options", *self.sections)}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                groups[under.get(param.name or "", "Options")].append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)
