"""Rows with their logits, wherever they come from: what is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Kind = Literal["text", "integer", "number"]


@dataclass(frozen=True)
class Part:
    """Some rows, one behind the other.

    split: of a cache, empty for images. ids: n names. labels: (n,) int64, -1 where there is none. readable: (n,) bool.
    logits: (n, K), of no meaning where a row could not be read. reasons: one line for rows that could not.
    """

    split: str
    ids: Sequence[str]
    labels: NDArray[np.int64]
    readable: NDArray[np.bool_]
    logits: Tensor
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """What is predicted and what is known of it.

    parts: the rows, to be gone through once. rows: N. num_classes: K. class_names: K names or None. split_names: of
    the cache, empty for images. labelled: whether rows may have labels. record: of the head, None for a model's own
    classifier. counts: (K,) training rows a class, or None. where: what holds no counts, for messages.
    batch_size: images a forward, None for features. reads: how images are read, None for features. marks: by split, why
    its accuracy says little of new rows.
    """

    parts: Iterator[Part]
    rows: int
    num_classes: int
    class_names: Sequence[str] | None
    split_names: tuple[str, ...]
    labelled: bool
    record: Mapping[str, Any] | None
    counts: NDArray[np.int64] | None
    where: str
    batch_size: int | None = None
    reads: str | None = None
    marks: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def columns(self, k: int) -> dict[str, Kind]:
        """The columns of its predictions, and what is in them. k: classes a row."""
        found: dict[str, Kind] = {"split": "text"} if self.split_names else {}
        found["id"] = "text"
        if self.labelled:
            found["label"] = "integer"
        for end in endings(k):
            found[f"prediction{end}"] = "integer"
            if self.class_names is not None:
                found[f"name{end}"] = "text"
            found[f"probability{end}"] = "number"
        return found


def endings(k: int) -> list[str]:
    """What the columns of each of the k likeliest classes end in."""
    return [""] if k == 1 else [f"_{place}" for place in range(1, k + 1)]


def names_in(recorded: object, num_classes: int) -> tuple[str, ...] | None:
    """The class names that a head or a program records; None where it has none, or what anyone wrote there is none.

    recorded: whatever stands there. num_classes: K.
    """
    if isinstance(recorded, list) and len(recorded) == num_classes and all(isinstance(each, str) for each in recorded):
        return tuple(recorded)
    return None
