"""The options of train: their headings, and what they default to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from click.testing import Result

from rebalance.losses import LOSSES
from rebalance.sampling import SAMPLERS
from rebalance_cli.train import train
from rebalance_cli.training.options import SECTIONS, RecipeOptions

Run = Callable[..., Result]
Refused = Callable[..., str]


def test_every_option_stands_once_under_its_heading(done: Run) -> None:
    text = done("train", "--help").stdout
    places = [text.index(f"\n{heading}:\n") for heading in ("Options", *SECTIONS)]
    assert places == sorted(places)
    ends = [*places[1:], text.index("Example:")]
    sections = dict(zip(("Options", *SECTIONS), zip(places, ends, strict=True), strict=True))
    for param in train.params:
        for name in param.opts:
            if name.startswith("--"):
                assert text.count(f"  {name} ") + text.count(f", {name} ") + text.count(f"{name}\n") >= 1, name
    for heading, kind in SECTIONS.items():
        begin, end = sections[heading]
        for field in fields(kind):
            assert f"--{field.name.replace('_', '-')}" in text[begin:end], field.name


def choices(name: str) -> list[str]:
    (found,) = [param.type for param in train.params if param.name == name]
    listed: Any = found
    return list(listed.choices)


def test_the_choices_are_what_there_is() -> None:
    """They are written out, so that --help need not import torch."""
    assert choices("loss") == list(LOSSES)
    assert choices("sampler") == list(SAMPLERS)


@pytest.mark.parametrize(
    ("optimizer", "given", "expected"),
    [
        ("sgd", (None, None), (0.1, 5e-4)),
        ("adamw", (None, None), (1e-3, 0.05)),
        ("adamw", (0.2, 0.0), (0.2, 0.0)),
    ],
)
def test_rates_follow_the_optimizer(optimizer: str, given: tuple[Any, Any], expected: tuple[float, float]) -> None:
    recipe = RecipeOptions("instance", "ce", 0.0, 0.0, 30, 32, optimizer, *given, None)
    assert (recipe.rate, recipe.decay) == expected


@pytest.mark.parametrize(
    "words",
    [("--ema", 1), ("--mixup", -1), ("--jitter", 2), ("--freeze", "all"), ("--loss", "mse"), ("--label-smoothing", 1)],
)
def test_values_out_of_range_are_wrong_usage(words: tuple[Any, ...], misused: Refused) -> None:
    misused("train", "photos", "--out", "x.pt", *words, holds=(str(words[0]),))
