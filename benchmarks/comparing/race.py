"""Candidates on one data set, in turns; a row of each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
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
ASIDE = 10.0  # seconds for the probabilities of a candidate that decides without them
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
    All processes start together and none fits before all are ready. Every candidate is fitted once; those that were
    quick wait, and go on in turns, so that a busy machine slows all.
    """
    with ExitStack() as stack:
        workers = {each.name: stack.enter_context(Worker(each, material.folder, limit, size)) for each in candidates}
        running = _Race(material, workers)
        rows = running.ready()
        for row in rows:
            running.first(row)
        running.again(rows)
    for candidate, row in zip(candidates, rows, strict=True):
        row.behind = running.behind(candidate)
    return [asdict(row) for row in rows]


class _Race:
    """The processes of the candidates, and the reports so far."""

    def __init__(self, material: Material, workers: Mapping[str, Worker]) -> None:
        self._material = material
        self._workers = workers
        self._reports: dict[str, Report] = {}

    def ready(self) -> list[Row]:
        """A row for every candidate, once none of them is still starting."""
        rows = []
        for name, worker in self._workers.items():
            rows.append(row := Row(name))
            try:
                worker.ready()
            except Stopped as why:
                row.stopped = str(why)
        return rows

    def first(self, row: Row) -> None:
        """The first fit; where it was not quick it is judged, and its process ends."""
        if not row.stopped:
            worker = self._workers[row.name]
            try:
                decides = _fit(worker, row)
                if row.seconds[0] >= SHORT:
                    self._judge(worker, row, decides=decides)
            except Stopped as why:
                row.stopped = str(why)
            if row.stopped or row.figures:
                worker.end()
        _tell(row)

    def again(self, rows: Sequence[Row]) -> None:
        """The further turns of those that were quick."""
        waiting = [row for row in rows if not (row.stopped or row.figures)]
        for row in waiting:
            row.seconds.clear()
        for turn in range(RUNS):
            for row in waiting:
                self._turn(row, last=turn == RUNS - 1)

    def _turn(self, row: Row, *, last: bool) -> None:
        if row.stopped:
            return
        try:
            decides = _fit(self._workers[row.name], row)
            if last:
                self._judge(self._workers[row.name], row, decides=decides)
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
            _, made = self._asked(lambda file: worker.predict(file, within=ASIDE))
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
