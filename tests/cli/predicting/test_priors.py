"""The offsets between two priors, from options, counts and records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch

from rebalance.prior import shifted_prior
from rebalance_cli.predicting.options import Answers
from rebalance_cli.predicting.priors import offsets_of
from rebalance_cli.predicting.subject import Subject

COUNTS = np.array([6, 3, 1])
JOINT, CRT, TAU = ({"method": name} for name in ("joint", "crt", "tau_norm"))


def offsets(
    target: Any, source: Any = None, *, record: Any = JOINT, counts: Any = COUNTS
) -> tuple[list[float] | None, str | None]:
    """Their ratio as multiples of the first, and what is said of the source."""
    subject = Subject(iter(()), 0, 3, ("a", "b", "c"), (), False, record, counts, "nobody counted")
    given = None if source is None else str(source)
    found, said = offsets_of(Answers(Path("p.csv"), 1, target if target is None else str(target), given), subject)
    return None if found is None else (found - found[0]).exp().tolist(), said


def test_none_is_asked_for() -> None:
    assert offsets(None) == (None, None)


def test_words() -> None:
    assert offsets("uniform") == (pytest.approx([1, 2, 6]), "train (as recorded for joint)")
    assert offsets("uniform", record=CRT) == (pytest.approx([1, 1, 1]), "uniform (as recorded for crt)")
    assert offsets("train") == ([1, 1, 1], "train (as recorded for joint)")
    assert offsets("train", record=CRT)[0] == pytest.approx([1, 1 / 2, 1 / 6])
    assert offsets("train", "uniform", record=TAU) == (pytest.approx([1, 1 / 2, 1 / 6]), "uniform")
    tail = shifted_prior(COUNTS, 50, backward=True) * torch.tensor([1, 2, 6])
    assert offsets("backward:50")[0] == pytest.approx((tail / tail[0]).tolist())


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"method": "logit_adjust", "hyperparameters": {"tau": 1.13}}, "train^-0.13 (as recorded for logit_adjust)"),
        ({"method": "logit_adjust", "hyperparameters": {"tau": 1}}, "uniform (as recorded for logit_adjust)"),
        (
            {"method": "logit_adjust", "hyperparameters": {"tau": 1, "target_prior": [1, 5, 2]}},
            "shares of its own (as recorded for logit_adjust)",
        ),
        (
            {"method": "label_shift", "label_shift": {"prior": [0, 1, 2]}},
            "shares of its own (as recorded for label_shift)",
        ),
    ],
)
def test_a_record_s_source_in_words(record: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("0 0.5 0.5", "utf-8")
    assert offsets(tmp_path / "p.txt", record=record)[1] == said


def test_counts_are_divided_by_their_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.csv").write_text("c,2\nb,1\na,1\n", "utf-8")
    assert offsets("uniform", tmp_path / "p.csv", record=None, counts=None)[0] == pytest.approx([1, 1, 1 / 2])
    assert "p.csv: the numbers sum to 4 and are divided by that" in capsys.readouterr().err
    with pytest.raises(ValueError, match="the shares sum to 4"):
        offsets(tmp_path / "p.csv", "uniform")


def test_files(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("c,0.5\nb,0.25\na,0.25\n", "utf-8")
    assert offsets(tmp_path / "p.csv", "uniform", counts=None)[0] == pytest.approx([1, 1, 2])
    assert offsets("uniform", tmp_path / "p.csv", record=None, counts=None)[0] == pytest.approx([1, 1, 1 / 2])


def test_a_class_without_training_rows_counts_as_half_a_row() -> None:
    assert offsets("uniform", counts=np.array([6, 3, 0]))[0] == pytest.approx([1, 2, 12])
    assert offsets("train", counts=np.array([6, 3, 0]))[0] == [1, 1, 1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"record": TAU}, r"the record of the head \(tau_norm\) does not tell"),
        ({"record": {}}, r"the record of the head \(unknown\) does not tell"),
        ({"record": None}, "a model does not say which shares"),
    ],
)
def test_an_unknown_source_has_to_be_given(words: dict[str, Any], says: str) -> None:
    with pytest.raises(click.UsageError, match=f"--source-prior is missing: {says}"):
        offsets("uniform", **words)


@pytest.mark.parametrize("target", ["uniform", "train", "forward:50"])
def test_counts_that_are_missing_are_said_to_be(target: str) -> None:
    with pytest.raises(ValueError, match=r"rows a class are not known \(nobody counted\); name the .* with --cache"):
        offsets(target, counts=None)


def test_a_source_of_zero(tmp_path: Path) -> None:
    (tmp_path / "zero.txt").write_text("0.5 0.5 0", "utf-8")
    with pytest.raises(ValueError, match=r"--target-prior uniform: class 2 has share 0 in the source prior"):
        offsets("uniform", tmp_path / "zero.txt")
    both = offsets(tmp_path / "zero.txt", tmp_path / "zero.txt")[0]
    assert both == [1, 1, 0]
