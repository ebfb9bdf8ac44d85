"""``--target-prior`` and ``--source-prior``: what is added to the logits of a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..judging.target_prior import ROUNDING, Classes, read_prior
from ..output import clean, note
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
    from rebalance.prior import as_prior, log_prior

    unknown = f"the training rows a class are not known ({subject.where}); {_ways(subject)}give a file of shares"
    if value == "train" and subject.counts is not None and subject.counts.any():
        return log_prior(subject.counts).exp().numpy()
    classes = Classes(subject.num_classes, subject.class_names, subject.counts, unknown)
    if option != "--source-prior":
        return read_prior(option, value, classes)
    shares = read_prior(option, value, classes, whole=False)
    total = float(shares.sum())
    if abs(total - 1) > ROUNDING:
        note(f"rebalance: {option} {clean(value, 200)}: the numbers sum to {total:.6g} and are divided by that")
    return as_prior(shares, subject.num_classes).numpy()


def _ways(subject: Subject) -> str:
    """What else to do where counts are not known; a cache that is predicted is the only one there is."""
    return "" if subject.split_names else "name the cache that has them with --cache, or "


def _recorded(subject: Subject) -> tuple[Any, str]:
    """What the head's record says its probabilities are right for."""
    from rebalance.source_prior import source_prior

    record = subject.record
    if record is None:
        raise click.UsageError(
            "--source-prior is missing: a model does not say which shares its own classifier is right for; give "
            "uniform, train (with --cache, the cache of its training rows), or a file of the rows a class"
        )
    method = str(record.get("method", "unknown"))[:40]
    try:
        found = source_prior(record, subject.num_classes, subject.counts)
    except ValueError:
        raise ValueError(
            f"--target-prior: the head ({method}) is made for the shares of its training rows, and the training rows a "
            f"class are not known ({subject.where}); {_ways(subject)}give --source-prior a file of shares or counts"
        ) from None
    if found is None:
        raise click.UsageError(
            f"--source-prior is missing: the record of the head ({method}) does not tell which shares its "
            "probabilities are right for; give uniform, train or a file of shares or counts"
        )
    return found, f"{_called(found, method, subject.counts)} (as recorded for {method})"


def _called(shares: Tensor, method: str, counts: NDArray[np.int64] | None) -> str:
    """The shares (K,) in words: uniform, train, a power of train where the method leaves one, or none of this."""
    import torch

    from rebalance.prior import log_prior
    from rebalance.source_prior import POWER

    def same(one: Tensor, other: Tensor) -> bool:
        return bool(torch.allclose(one, other, rtol=1e-6, atol=0))

    if same(shares, shares.mean().expand_as(shares)):
        return "uniform"
    if counts is None:
        return "shares"
    logs = log_prior(counts)
    if same(shares, logs.exp()):
        return "train"
    train, found = logs - logs.mean(), shares.log() - shares.log().mean()
    power = float(found @ train / (train @ train))
    if method in POWER and same(shares, torch.softmax(power * logs, dim=0)):
        return f"train^{power:.3g}"
    return "shares of its own"
