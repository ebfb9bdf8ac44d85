"""The data as the peers get it: float32 arrays in memory, loaded before the clock starts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pair = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass
class Arrays:
    """A data set in a folder, and what bounds the work on it.

    folder: see material.prepare. limit: seconds after which a fit that can be ended ends. report: is told what a fit
    is doing, for the row of one that is killed.
    """

    folder: Path
    limit: float
    report: Callable[[str], None]

    @cached_property
    def note(self) -> dict[str, Any]:
        """classes, decay, decays."""
        note: dict[str, Any] = json.loads((self.folder / "material.json").read_text("utf-8"))
        return note

    @property
    def classes(self) -> int:
        return int(self.note["classes"])

    @cached_property
    def train(self) -> Pair:
        return self._split("train")

    @cached_property
    def val(self) -> Pair:
        return self._split("val")

    @cached_property
    def test(self) -> NDArray[np.float32]:
        return self._split("test")[0]

    @cached_property
    def head(self) -> Pair:
        """Weight (K, D) and bias (K,) of the classifier the features belong to."""
        file = np.load(self.folder / "head.npz")
        return file["weight"], file["bias"]

    def _split(self, name: str) -> Pair:
        return np.load(self.folder / f"{name}.npy"), np.load(self.folder / f"{name}_labels.npy")

    def deadline(self) -> float:
        """When a fit that begins now has to end, by time.perf_counter."""
        return time.perf_counter() + self.limit
