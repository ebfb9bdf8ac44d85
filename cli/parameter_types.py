"""What a hyperparameter's annotation means on a command line."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click


class Shares(str):
    """A target prior that can be read only where the classes are known: a file, or a shift of the training counts."""


class PriorType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A target prior: uniform, train, forward:50, backward:50, or a file of shares."""

    name = "uniform|train|file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word itself, or what is to be read as shares."""
        from .judging.target_prior import check_target_prior

        if not isinstance(value, str) or value in ("uniform", "train"):
            return value
        try:
            check_target_prior(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return Shares(value)


class NumberOrWord(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A number, or one of a few words.

    words: what is taken besides numbers.
    """

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words
        self.name = "|".join(("float", *words))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word, or the number."""
        if value in self.words:
            return value
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r}: expected a number or {', '.join(self.words)}", param, ctx)


def click_type(annotation: Any) -> Any:
    """What click converts to; None for a parameter that has no place on a command line."""
    from rebalance.prior import TargetPrior

    if annotation == TargetPrior:
        return PriorType()
    if get_origin(annotation) is Literal:
        return click.Choice([str(value) for value in get_args(annotation)])
    if get_origin(annotation) in (Union, UnionType):
        kinds = [each for each in get_args(annotation) if each is not NoneType]
        words = [word for each in kinds if get_origin(each) is Literal for word in get_args(each)]
        if len(kinds) == 2 and float in kinds and words:
            return NumberOrWord(tuple(words))
        return click_type(kinds[0]) if len(kinds) == 1 else None
    return {float: click.FLOAT, int: click.INT, str: click.STRING, bool: click.BOOL}.get(annotation)
