"""What a part finds, one JSON line a check, written at once: a part that dies keeps what it had."""

from __future__ import annotations

import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from device.place import Place

Status = Literal["ok", "missed", "failed"]
TRACE = 4000  # characters of a traceback that are kept: its end


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    name: part/what. status: missed where a target is, failed where there is no result. value: in `unit`, of times the
    median. target: which the value must not exceed, or fall short of. seconds: of every counted run; first: of the one
    before them. held, peak: bytes in use on the device before, and at most. error: one line; trace: its traceback.
    """

    name: str
    status: Status
    value: float | None = None
    unit: str = "s"
    target: float | None = None
    seconds: Sequence[float] = ()
    first: float | None = None
    held: int | None = None
    peak: int | None = None
    note: str = ""
    error: str = ""
    trace: str = ""


@dataclass(frozen=True)
class Timed:
    """seconds: of every counted run. result: of the last."""

    seconds: list[float]
    result: Any


@dataclass(frozen=True)
class Record:
    """Writes what is found. place: the device. lines: the file."""

    place: Place
    lines: Path

    def add(self, check: Check) -> None:
        """Keep a check."""
        self._write("check", asdict(check))
        print(f"{check.name}: {check.status} {check.error or ''}".rstrip(), file=sys.stderr, flush=True)

    def test(self, name: str, outcome: str, why: str, seconds: float) -> None:
        """Keep the outcome of a test."""
        self._write("test", {"name": name, "outcome": outcome, "why": why, "seconds": round(seconds, 3)})

    def found(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        seconds: Sequence[float] = (),
        first: float | None = None,
        memory: tuple[int | None, int | None] = (None, None),
        note: str = "",
    ) -> None:
        """Keep a figure, ok where it meets its target. memory: bytes held before, and at the peak."""
        met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        target = at_least if at_most is None else at_most
        status: Status = "ok" if met else "missed"
        self.add(Check(name, status, value, unit, target, list(seconds), first, *memory, note=note))

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """An exception in the block is kept as a failed check of this name, and what follows goes on."""
        try:
            yield
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".splitlines()[0][:800]
            trace = "".join(traceback.format_exception(error))[-TRACE:]
            self.add(Check(name, "failed", error=reason, trace=trace))

    def timed(
        self,
        name: str,
        work: Callable[[], Any],
        *,
        runs: int,
        at_most: float | None = None,
        note: Callable[[Any], str] = lambda _: "",
    ) -> Timed | None:
        """The seconds of some runs after one that loads the kernels, kept as a check; None where one fails.

        at_most: the target of the median. note: says something of the result; it is not timed.
        """
        found = None
        with self.guarded(name):
            held = self.place.forget()
            (first, *seconds), result = zip(*(self._run(work) for _ in range(1 + runs)), strict=True)
            memory = held, self.place.peak()
            found = Timed(seconds, result[-1])
            self.found(
                name,
                statistics.median(seconds),
                "s",
                at_most=at_most,
                seconds=seconds,
                first=first,
                memory=memory,
                note=note(result[-1]),
            )
        return found

    def _run(self, work: Callable[[], Any]) -> tuple[float, Any]:
        self.place.wait()
        begun = time.perf_counter()
        result = work()
        self.place.wait()
        return time.perf_counter() - begun, result

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps({kind: values}) + "\n")
