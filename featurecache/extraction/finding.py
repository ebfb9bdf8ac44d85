"""What a model's features are, found and proved on its first batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.classifier import Classifier, find_classifier
from featurecache.extraction.computing import Computing
from featurecache.extraction.forward import Forward, is_of_memory, memory_told
from featurecache.extraction.rows import Batch, Rows, own_randomness
from featurecache.inputs import call, each, taken, to_device
from featurecache.proof import logits_of

PROOF_ROWS = 8  # enough to tell one layer from another, few enough that a proof costs less than a batch


@dataclass(frozen=True)
class Found:
    """What is cached of a model.

    classifier: whose input is the features, None for a backbone. layer: its name, or that of the layer whose output is
    the features (None: the model's own). width: D. first: the first batch that can be read, of the rows of a split
    from `at` on.
    """

    classifier: Classifier | None
    layer: str | None
    width: int
    first: Batch
    split: str
    at: int

    @property
    def head(self) -> tuple[Tensor, Tensor] | None:
        """Weight (K, D) and bias (K,) of the classifier."""
        return None if self.classifier is None else (self.classifier.weight, self.classifier.bias)


def find(
    model: nn.Module, rows: Mapping[str, Rows], batch_size: int, computing: Computing, *, layer: str | None, head: bool
) -> Found:
    """What is to be cached, proved on the first batch of the first split.

    model: prepared. rows: of the splits. batch_size: rows of that batch, of which the first few are proved on.
    layer, head: as in featurecache.extract.
    ValueError when no layer provably is the classifier, or when the output is not finite.
    """
    split, at, batch = first_batch(rows, batch_size)
    some = torch.arange(min(PROOF_ROWS, len(batch)))
    inputs = to_device(taken(batch.inputs, len(batch), some), computing.device, channels_last=computing.channels_last)
    with memory_told(len(some), computing.device):
        classifier = _classifier(model, inputs, split, at, computing, layer) if head else None
    forward = Forward(model, layer if classifier is None else classifier, computing)
    with forward.ready():
        features = forward(inputs, len(some), len(some)).features
    if classifier is None:
        _check_finite(features, split, at)
    return Found(classifier, layer if classifier is None else classifier.name, features.shape[1], batch, split.name, at)


def _classifier(
    model: nn.Module, inputs: Any, split: Rows, at: int, computing: Computing, layer: str | None
) -> Classifier:
    with computing.inference():
        _check_finite(logits_of(_first_call(model, inputs, split)), split, at)
    with computing.autocast():
        return find_classifier(model, inputs, layer=layer)


def _first_call(model: nn.Module, inputs: Any, split: Rows) -> Any:
    """What the model returns; ValueError, in one line, where it does not take what the data set gives."""
    try:
        return call(model, inputs)
    except (ValueError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever a model makes of inputs that it was not made for
        if is_of_memory(error):
            raise
        given = ", ".join(str(tuple(shape)) for shape in _shapes(inputs)) or type(inputs).__name__
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"the model fails on the first rows of {split.name}, inputs {given}: {reason}") from error


def _shapes(inputs: Any) -> list[torch.Size]:
    shapes: list[torch.Size] = []

    def look(value: Tensor) -> Tensor:
        shapes.append(value.shape)
        return value

    each(inputs, look)
    return shapes


def first_batch(rows: Mapping[str, Rows], batch_size: int) -> tuple[Rows, int, Batch]:
    """The first split of which a row can be read, where its first such batch begins, and that batch.

    ValueError when no row of any split can be.
    """
    reasons: list[str] = []
    for split in rows.values():
        for low in range(0, len(split), batch_size):
            batch = load(split, range(low, min(low + batch_size, len(split))))
            if batch.inputs is not None:
                return split, low, batch
            reasons += batch.reasons
    raise ValueError(f"no row of {', '.join(rows)} can be read ({len(reasons)} were tried); the first: {reasons[0]}")


def load(rows: Rows, wanted: range) -> Batch:
    """One batch, the caller's generators left as they are."""
    with own_randomness():
        return rows.check(rows.collate([rows[row] for row in wanted]))


def _check_finite(output: Tensor, split: Rows, at: int) -> None:
    if output.ndim == 2 and not bool(torch.isfinite(output).all()):
        bad = at + int((~torch.isfinite(output)).any(dim=1).to(torch.uint8).argmax())
        sample = split.ids(range(bad, bad + 1))[0].decode(errors="replace")[:80]
        raise ValueError(
            f"the model gives NaN or infinity for sample {sample!r} of {split.name}; expected finite numbers: "
            "the weights or this input are broken"
        )
