"""Options that every command has, and the values that several take."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import torch

    from rebalance import Shots

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Common:
    """The options that every command has."""

    as_json: bool
    seed: int
    device_name: str

    @property
    def device(self) -> torch.device:
        """The device asked for; ValueError when it is not there."""
        import torch

        if self.device_name == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda: PyTorch sees no CUDA device here; use --device cpu or auto")
        cuda = self.device_name != "cpu" and torch.cuda.is_available()
        return torch.device("cuda" if cuda else "cpu")


def _verbose(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    ctx.meta["rebalance.verbose"] = value or ctx.meta.get("rebalance.verbose", False)


def common_options() -> list[click.Option]:
    """Fresh options ``--json --seed --device --verbose``, for commands that are put together from parts."""
    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
        click.Option(
            ["--seed"],
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Of everything drawn at random.",
        ),
        click.Option(
            ["--device", "device_name"],
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where to compute.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_verbose,
            help="Show the traceback of an error.",
        ),
    ]


def common(function: F) -> F:
    """Give a command the common options; its function gets them as one argument, `common`."""

    @functools.wraps(function)
    def wrapper(*args: Any, as_json: bool, seed: int, device_name: str, **options: Any) -> Any:
        return function(*args, common=Common(as_json, seed, device_name), **options)

    # click reads the options of a function that is to become a command from this attribute, last one first.
    wrapper.__click_params__ = [  # type: ignore[attr-defined]
        *reversed(common_options()),
        *getattr(function, "__click_params__", []),
    ]
    return wrapper  # type: ignore[return-value]


def example(*lines: str) -> str:
    """The epilog of a command: its example, lines kept as they are."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def parse_shots(_ctx: click.Context, _option: click.Parameter, value: str) -> tuple[int, int]:
    """``20,100`` as two integers."""
    try:
        few, many = (int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected few,many such as 20,100") from None
    if not 0 <= few <= many:
        raise click.BadParameter(f"{value!r}: expected few,many with 0 <= few <= many")
    return few, many


shots_option = click.option(
    "--shots",
    metavar="FEW,MANY",
    default="20,100",
    show_default=True,
    callback=parse_shots,
    help="Bounds of the groups in training rows: fewer is few, more is many.",
)


def shots(bounds: tuple[int, int]) -> Shots:
    """The groups of two bounds."""
    from rebalance import Shots

    return Shots(*bounds)
