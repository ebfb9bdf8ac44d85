"""The steps of the study: each one command line, and the mark that says that it is done."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    """One command.

    name: SET/RUN/WHAT, unique. words: the command line. after: names of the steps that must be done before.
    fresh: what an interrupted run of it left, which is removed before it begins again.
    """

    name: str
    words: tuple[str, ...]
    after: tuple[str, ...] = ()
    fresh: tuple[Path, ...] = ()

    @property
    def line(self) -> str:
        """The command as it may be typed."""
        return shlex.join(self.words)

    @property
    def kind(self) -> tuple[str, str]:
        """The set, and what is done without the seed: steps of one kind take about as long."""
        data, run, what = self.name.split("/")
        return data, f"{run.rpartition('-')[0]}/{what}"


@dataclass(frozen=True)
class Marks:
    """A folder with a file for every step that is done: its words, its times, and what it printed."""

    folder: Path

    def path(self, step: Step) -> Path:
        """The file that says that a step is done."""
        return self.folder / f"{step.name.replace('/', '.')}.json"

    def done(self, step: Step) -> bool:
        """Whether this very command was run to its end."""
        try:
            return bool(json.loads(self.path(step).read_text())["words"] == list(step.words))
        except (FileNotFoundError, ValueError, KeyError):
            return False

    def keep(self, step: Step, took: Mapping[str, Any], printed: str) -> None:
        """Mark a step as done. took: its times. printed: JSON, what the command printed."""
        path = self.path(step)
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"words": step.words, **took, "printed": json.loads(printed or "null")}))
        os.replace(new, path)

    def printed(self, step: Step) -> Any:
        """What the command of a step that is done printed."""
        return json.loads(self.path(step).read_text())["printed"]

    def undone(self, steps: Sequence[Step]) -> list[Step]:
        """Those that are still to be run, and all that build on them: a model made anew has another cache."""
        names: set[str] = set()
        for step in steps:
            if not self.done(step) or names.intersection(step.after):
                names.add(step.name)
        return [step for step in steps if step.name in names]
