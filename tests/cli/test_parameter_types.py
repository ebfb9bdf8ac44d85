"""Annotations on a command line: numbers, words, priors, and what has no place there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Optional

import click
import pytest
from numpy.typing import ArrayLike

from rebalance.prior import TargetPrior
from rebalance_cli.parameter_types import NumberOrWord, PriorType, Shares, click_type


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (float, click.FLOAT),
        (int, click.INT),
        (str, click.STRING),
        (bool, click.BOOL),
        (float | None, click.FLOAT),
        (Optional[int], click.INT),  # noqa: UP045 (the older way to write it)
        (list[int], None),
        (ArrayLike | None, None),
        (float | int, None),
        (object, None),
    ],
)
def test_what_an_annotation_is(annotation: Any, expected: Any) -> None:
    assert click_type(annotation) is expected


def test_words_are_a_choice_and_may_stand_beside_a_number() -> None:
    assert list(click_type(Literal["a", "b"]).choices) == ["a", "b"]
    assert list(click_type(Literal["a", "b"] | None).choices) == ["a", "b"]
    either = click_type(float | Literal["auto", "none"])
    assert isinstance(either, NumberOrWord)
    assert [either.convert(value, None, None) for value in ("auto", "0.5", "1e-3", 2.0)] == ["auto", 0.5, 1e-3, 2.0]
    assert either.name == "float|auto|none"
    with pytest.raises(click.BadParameter, match="'much': expected a number or auto, none"):
        either.convert("much", None, None)


def test_a_prior_is_a_word_or_the_numbers_of_a_file(tmp_path: Path) -> None:
    prior = click_type(TargetPrior)
    assert isinstance(prior, PriorType)
    assert [prior.convert(word, None, None) for word in ("uniform", "train")] == ["uniform", "train"]
    (tmp_path / "shares.txt").write_text("3\n1e-2 0\n", "utf-8")
    found = prior.convert(str(tmp_path / "shares.txt"), None, None)
    assert (type(found), found) == (Shares, str(tmp_path / "shares.txt"))
    assert isinstance(prior.convert("backward:50", None, None), Shares)


@pytest.mark.parametrize(("text", "says"), [(None, "no such file")])
def test_a_prior_that_cannot_be_read_is_wrong_usage(text: str | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "shares.txt"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(click.BadParameter, match=says) as caught:
        click_type(TargetPrior).convert(str(path), None, None)
    assert str(path) in caught.value.message
