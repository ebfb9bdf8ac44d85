"""All candidates on one data set, in turns; a row of each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comparing.material import Material
from comparing.pairs import behind
from comparing.questions import Candidate
from comparing.running import Stopped, Worker
from rebalance import Report

SHORT = 5.0  # seconds; a fit that takes less is repeated
RUNS = 3  # of a short fit, after one that is not counted
PROBABLE = ("nll", "ece")  # what probabilities are judged by, whatever was decided
FIGURES = ("balanced", "many", "medium", "few", "top1", *PROBABLE)


@dataclass
class Row:
    """What one candidate came to.

    name: of the candidate. seconds: wall seconds of every fit that counts. predict: of the test rows. peak: bytes of
    its process at the most, libraries: of them before it met the data. figures: on test. behind: by how much its
    balanced accuracy is below that of the row of ours it is compared with, and the standard error. note: of the fit.
    stopped: why there are no figures, or "".
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    predict: float | None = None
    peak: int | None = None
    libraries: int | None = None
    figures: dict[str, float | None] = field(default_factory=dict)
    behind: tuple[float, float] | None = None
    note: str = ""
    stopped: str = ""


def race(
    material: Material, candidates: Sequence[Candidate], *, limit: float, size: int | None
) -> list[dict[str, Any]]:
    """The rows, in the candidates' order, as JSON values.

    limit: seconds of a fit. size: bytes a process may take, or None.
    Every candidate is fitted once; those that were quick wait, and go on in turns, so that a busy machine slows all.
    """
    running = _Race(material)
    rows = [running.first(each, limit, size) for each in candidates]
    running.again(rows)
    for candidate, row in zip(candidates, rows, strict=True):
        row.behind = running.behind(candidate)
    return [asdict(row) for row in rows]


class _Race:
    """The processes that wait for their next turn, and the reports so far."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._waiting: dict[str, Worker] = {}
        self._reports: dict[str, Report] = {}

    def first(self, candidate: Candidate, limit: float, size: int | None) -> Row:
        """A candidate's first fit; where it was quick its process waits."""
        row = Row(candidate.name)
        with ExitStack() as stack:
            worker = stack.enter_context(Worker(candidate, self._material.folder, limit, size))
            try:
                worker.ready()
                decides = _fit(worker, row)
                if row.seconds[0] < SHORT:
                    self._waiting[candidate.name] = worker
                    stack.pop_all()
                else:
                    self._judge(worker, row, decides=decides)
            except Stopped as why:
                row.stopped = str(why)
        _tell(row)
        return row

    def again(self, rows: Sequence[Row]) -> None:
        """The further turns of those that wait."""
        waiting = [row for row in rows if row.name in self._waiting]
        with ExitStack() as stack:
            for worker in self._waiting.values():
                stack.enter_context(worker)
            for row in waiting:
                row.seconds.clear()
            for turn in range(RUNS):
                for row in waiting:
                    self._turn(row, last=turn == RUNS - 1)

    def _turn(self, row: Row, *, last: bool) -> None:
        if row.stopped:
            return
        try:
            decides = _fit(self._waiting[row.name], row)
            if last:
                self._judge(self._waiting[row.name], row, decides=decides)
        except Stopped as why:
            row.stopped = str(why)

    def _judge(self, worker: Worker, row: Row, *, decides: bool) -> None:
        """The figures; of one that decides by itself the probabilities are only asked for their own."""
        ask = worker.decide if decides else worker.predict
        answer, made = self._asked(ask)
        row.predict, row.peak, row.libraries = answer["seconds"], answer["peak"], answer["libraries"]
        logits = np.eye(self._material.cache.num_classes, dtype=np.float32)[made] if decides else made
        report = self._reports[row.name] = self._material.judge(logits)
        row.figures = {name: getattr(report, name) for name in FIGURES}
        if decides:
            row.figures |= self._probable(worker, row)

    def _probable(self, worker: Worker, row: Row) -> dict[str, float | None]:
        try:
            _, made = self._asked(worker.predict)
        except Stopped as why:
            row.note = f"no probabilities: {why}"
            return dict.fromkeys(PROBABLE)
        report = self._material.judge(made)
        return {name: getattr(report, name) for name in PROBABLE}

    def _asked(self, ask: Callable[[Path], dict[str, Any]]) -> tuple[dict[str, Any], NDArray[Any]]:
        file = self._material.folder / "predicted.npy"
        answer = ask(file)
        made = np.load(file)
        file.unlink()
        return answer, made

    def behind(self, candidate: Candidate) -> tuple[float, float] | None:
        """A peer's balanced accuracy below ours, and its standard error; None where one of them has no figures."""
        if not {candidate.name, candidate.against} <= self._reports.keys():
            return None
        ours, theirs = (self._reports[name].results for name in (candidate.against, candidate.name))
        return behind(ours.correct, theirs.correct, ours.labels)


def _fit(worker: Worker, row: Row) -> bool:
    """Fit once more; whether it decides by itself, not by its probabilities."""
    answer = worker.fit()
    row.seconds.append(answer["seconds"])
    row.note = answer["note"]
    return bool(answer["decides"])


def _tell(row: Row) -> None:
    took = f"{row.seconds[-1]:.2f} s" if row.seconds else "no fit"
    print(f"  {row.name}: {took}; {row.stopped or row.note or 'done'}", file=sys.stderr, flush=True)
