"""The data sets of the study: one file a set, one line a set in SETS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import clipart, digits, fashion, icons, wordnet
from .study_set import StudySet

SETS: dict[str, Callable[[Path], StudySet]] = {
    "digits": digits.prepare,
    "fashion": fashion.prepare,
    "icons": icons.prepare,
    "clipart": clipart.prepare,
    "wordnet": wordnet.prepare,
}

__all__ = ["SETS", "StudySet"]
