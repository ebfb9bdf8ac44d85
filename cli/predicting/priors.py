"""``--target-prior`` and ``--source-prior``: what is added to the logits of a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..judging.target_prior import Classes, read_prior
from .options import Answers
from .subject import Subject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


def offsets_of(answers: Answers, subject: Subject) -> tuple[Tensor | None, str | None]:
    """The offsets (K,) that lead from the source prior to the target's, None for none; and the source in words.

    UsageError where the source is not given and the head's record does not tell it; ValueError when a file is none, or
    counts are needed and not known.
    """
    from rebalance.prediction import prior_offsets

    if answers.target_prior is None:
        return None, None
    target = _shares("--target-prior", answers.target_prior, subject)
    if answers.source_prior is not None:
        source, said = _shares("--source-prior", answers.source_prior, subject), answers.source_prior
    else:
        source, said = _recorded(subject)
    try:
        return prior_offsets(source, target), said
    except ValueError as error:
        raise ValueError(f"--target-prior {answers.target_prior[:200]}: {error}") from error


def _shares(option: str, value: str, subject: Subject) -> NDArray[np.float64]:
    """The shares (K,); of the training rows as heads see them: an empty class counts as half a row."""
    from rebalance.prior import log_prior

    unknown = f"the training rows a class are not known ({subject.where}); give a file of shares, one a class"
    if value == "train" and subject.counts is not None and subject.counts.any():
        return log_prior(subject.counts).exp().numpy()
    return read_prior(option, value, Classes(subject.num_classes, subject.class_names, subject.counts, unknown))


def _recorded(subject: Subject) -> tuple[Any, str]:
    """What the head's record says its probabilities are right for."""
    from rebalance.source_prior import source_prior

    record = subject.record
    if record is None:
        raise click.UsageError(
            "--source-prior is missing: a model does not say which shares its own classifier is right for; give "
            "uniform or a file of shares, such as those of the rows it was trained on"
        )
    method = str(record.get("method", "unknown"))[:40]
    try:
        found = source_prior(record, subject.num_classes, subject.counts)
    except ValueError:
        raise ValueError(
            f"--target-prior: the head ({method}) is made for the shares of its training rows, and the training rows a "
            f"class are not known ({subject.where}); give --source-prior a file of shares, one a class"
        ) from None
    if found is None:
        raise click.UsageError(
            f"--source-prior is missing: the record of the head ({method}) does not tell which shares its "
            "probabilities are right for; give uniform, train or a file of shares"
        )
    return found, f"as recorded ({method})"
