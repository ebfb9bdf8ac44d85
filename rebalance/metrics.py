"""How good a head is: pure functions of logits, labels and training counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, Labels, as_labels, blocks, own_blocks, refuse_nonfinite, width
from rebalance.classes import GROUPS, Shots, class_counts
from rebalance.head import LinearHead

FIGURES = ("top1", "balanced", "many", "medium", "few", "macro_f1", "nll", "ece")
ECE_BINS = 15


@dataclass(frozen=True)
class Report:
    """The figures of one head on one split; None where a figure is not defined.

    top1: share of rows that are right. balanced: mean recall over the classes that have rows. many, medium, few: the
    same over the classes of a shot group. macro_f1: mean F1 over classes that have rows or predictions. nll: mean
    negative log-likelihood in nats. ece: expected calibration error, 15 bins of equal width closed on the right.
    recall: (K,), NaN for a class without rows. rows: labelled rows. rule: the shot groups in words.
    """

    top1: float
    balanced: float
    many: float | None
    medium: float | None
    few: float | None
    macro_f1: float
    nll: float
    ece: float
    recall: NDArray[np.float64]
    rows: int
    rule: str

    def figures(self) -> dict[str, float | None]:
        """The figures by name, in the order they are printed."""
        return {name: getattr(self, name) for name in FIGURES}

    def to_dict(self) -> dict[str, Any]:
        """The figures, the rule, the rows and the recall of every class as plain JSON values."""
        recall = [None if np.isnan(value) else float(value) for value in self.recall]
        return {**self.figures(), "rows": self.rows, "rule": self.rule, "recall": recall}

    def __str__(self) -> str:
        cells = ["-" if value is None else f"{value:.3f}" for value in self.figures().values()]
        head = "".join(f"{name:>10}" for name in FIGURES)
        return f"{head}\n{''.join(f'{cell:>10}' for cell in cells)}\n{self.rows} rows; {self.rule}"


def evaluate(
    logits: Features, labels: Labels, counts: ArrayLike | None = None, *, shots: Shots | None = None
) -> Report:
    """The report of logits against labels.

    logits: (N, K). labels: (N,); rows labelled -1 are left out. counts: (K,) training rows a class, for the groups;
    without them many, medium and few are None. shots: the groups' bounds.
    ValueError when the shapes do not fit, a logit is NaN or infinite, or no row has a label.
    """
    target = as_labels(labels)
    _check(len(logits), width(logits), target, counts)
    refuse_bad_logits(logits)
    return _report(_per_row(blocks(logits), target), target, width(logits), counts, shots or Shots())


def evaluate_head(
    head: LinearHead, features: Features, labels: Labels, counts: ArrayLike | None = None, *, shots: Shots | None = None
) -> Report:
    """The report of a head on features: that of its logits, of which only a block at a time is in memory.

    features: (N, D). labels, counts, shots: as in `evaluate`. Under ranks.together() every rank judges its own rows.
    ValueError as there, and when the features are not as wide as the head's.
    """
    target = as_labels(labels)
    if width(features) != head.width:
        raise ValueError(f"features are {width(features)} wide, the head takes {head.width}: of different models")
    _check(len(features), head.num_classes, target, counts)

    def logits() -> Iterator[tuple[slice, Tensor]]:
        for part, block in own_blocks(features, device=head.weight.device, columns=head.num_classes):
            made = head(block)
            if not bool(torch.isfinite(made.sum())):
                refuse_nonfinite(features)
                refuse_bad_logits(made)
            yield part, made

    found = _per_row(logits(), target)
    ranks.total(*found)  # the rows of other ranks are zero here
    return _report(found, target, head.num_classes, counts, shots or Shots())


def _report(
    found: tuple[Tensor, Tensor, Tensor], target: Tensor, classes: int, counts: ArrayLike | None, shots: Shots
) -> Report:
    known = (target >= 0).cpu()
    truth = target.cpu()[known].numpy()
    guess, confidence, nll = (each.cpu()[known].numpy() for each in found)
    rows = class_counts(torch.from_numpy(truth), classes).numpy()
    right = np.bincount(truth[guess == truth], minlength=classes)
    with np.errstate(invalid="ignore"):
        recall = np.where(rows > 0, right / np.maximum(rows, 1), np.nan)
    groups: dict[str, float | None] = dict.fromkeys(GROUPS)
    if counts is not None:
        masks = shots.groups(_array(counts))
        groups = {name: _mean(recall[mask & (rows > 0)]) for name, mask in masks.items()}
    guessed = np.bincount(guess, minlength=classes)
    met = (rows + guessed) > 0
    return Report(
        top1=float(np.mean(guess == truth)),
        balanced=float(np.mean(recall[rows > 0])),
        **groups,
        macro_f1=float(np.mean(2 * right[met] / (rows + guessed)[met])),
        nll=float(np.mean(nll)),
        ece=expected_calibration_error(confidence.clip(0.0, 1.0), guess == truth),
        recall=recall,
        rows=len(truth),
        rule=shots.rule,
    )


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = ECE_BINS) -> float:
    """Mean distance of confidence and accuracy over bins of equal width, weighted by their rows.

    confidence: (N,) in [0, 1]. correct: (N,) bool. Bin b holds b/bins < confidence <= (b+1)/bins; exactly 0 is in the
    first. Source: Guo et al. (ICML 2017), section 2.
    """
    conf, hit = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    edges = np.arange(1, bins) / bins
    place = np.searchsorted(edges, conf, side="left")
    gap = np.bincount(place, conf - hit, bins)
    return float(np.abs(gap).sum() / len(conf))


def correct_rows(logits: Features, labels: Tensor) -> NDArray[np.bool_]:
    """Whether each row's largest logit is its label's (ties: the lowest class id); False for a label of -1.

    ValueError when a logit is NaN or infinite.
    """
    refuse_bad_logits(logits)
    parts = [block.argmax(dim=1) == labels[part].to(block.device) for part, block in blocks(logits)]
    return torch.cat(parts).cpu().numpy()


def balanced_row_weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights (N,) under which the correct rows sum to balanced accuracy: 1 / (classes present * rows of the class)."""
    _, place, rows = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(rows) * rows[place]))


def _per_row(logits: Iterable[tuple[slice, Tensor]], target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, confidence and negative log-likelihood of every row (N,), zeros for one without a label."""
    guess = torch.zeros(len(target), dtype=torch.int64, device=target.device)
    confidence, nll = (torch.zeros(len(target), dtype=torch.float64, device=target.device) for _ in range(2))
    for part, block in logits:
        own = target[part].to(block.device)
        known = own >= 0
        log_p = torch.log_softmax(block.double(), dim=1)
        # argmax of the logits themselves: the softmax may round two of them to one.
        for store, values in (
            (guess, block.argmax(dim=1)),
            (confidence, log_p.amax(dim=1).exp()),
            (nll, -log_p.gather(1, own.clamp_min(0)[:, None])[:, 0]),
        ):
            store[part] = torch.where(known, values, 0).to(store.device)
    return guess, confidence, nll


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _array(values: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(values.cpu() if isinstance(values, Tensor) else values)


def _check(rows: int, classes: int, labels: Tensor, counts: ArrayLike | None) -> None:
    if len(labels) != rows:
        raise ValueError(f"{len(labels)} labels for {rows} rows of logits; expected one a row")
    if counts is not None and _array(counts).shape != (classes,):
        shape = _array(counts).shape
        raise ValueError(f"counts have shape {shape}; expected ({classes},), one count for each of {classes} classes")
    if not bool((labels >= 0).any()):
        raise ValueError("no row has a label; expected at least one labelled row to judge on")
    class_counts(labels, classes)


def refuse_bad_logits(logits: Features) -> None:
    """Raise the ValueError that names the first row of logits with NaN or infinity; nothing happens without one."""
    for part, block in blocks(logits):
        if not bool(torch.isfinite(block).all()):
            row = part.start + int((~torch.isfinite(block)).any(dim=1).to(torch.uint8).argmax())
            raise ValueError(f"logits row {row} of {len(logits)} holds NaN or infinity; expected finite numbers")
