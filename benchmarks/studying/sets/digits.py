"""scikit-learn's digits, 8 x 8 pixels, with a small network: the whole study in seconds, to see that it runs."""

from __future__ import annotations

from pathlib import Path

from .study_set import StudySet

READING = ("--grey", "--image-size", "8", "--transform", "crop=1", "--augment", "none")


def prepare(work: Path) -> StudySet:
    """The set; it needs nothing in the work folder."""
    return StudySet(
        name="digits",
        title="Digits (imbalance 45)",
        source="scikit-learn's copy of UCI's handwritten digits, CC BY 4.0.",
        shots=(10, 50),
        splits={name: f"digits:{name}" for name in ("train", "val", "test")},
        training=("--arch", "convnet", *READING, "--epochs", "2"),
        tuning=(*READING, "--epochs", "1", "--lr", "0.02"),
    )
