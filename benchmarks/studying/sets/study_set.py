"""What the study needs to know of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = Path(__file__).resolve().parents[1] / "network.py"


@dataclass(frozen=True)
class StudySet:
    """One data set of the study, ready to be used.

    name: as the study calls it. title: for tables. source: package, version, licence; one or two sentences.
    shots: classes of these many training rows, both bounds included, are medium: `--shots`.
    splits: name -> DATA of `rebalance`; empty where there is a cache. Without val, train holds rows out itself.
    root: of list files: `--root`.
    training: further options of `rebalance train`; none where the backbone is pretrained.
    tuning: the options that fine-tuning has instead, epochs and learning rate included; none where nothing is trained.
    model: a pretrained backbone, `--model`; None where one is trained.
    extracting: further options of `rebalance extract`.
    cache: a cache that needs no extraction.
    """

    name: str
    title: str
    source: str
    shots: tuple[int, int]
    splits: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None
    training: tuple[str, ...] = ()
    tuning: tuple[str, ...] = ()
    model: str | None = None
    extracting: tuple[str, ...] = ()
    cache: Path | None = None
