"""Several processes that run the steps of a plan, each when those that it needs are done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .steps import Marks, Step

WORKER = Path(__file__).with_name("worker.py")
TRIES = 2  # of a step whose process was killed
LAST = 6  # lines of a failed step's output that are shown


@dataclass
class Crew:
    """What is run, and how far it is.

    marks: of the steps that are done. journal: a file with a line for every step that was run. say: shows one line.
    waiting: in the order in which they are begun. done, failed: names. workers: processes at a time.
    """

    marks: Marks
    journal: Path
    say: Callable[[str], None]
    waiting: list[Step] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    change: threading.Condition = field(default_factory=threading.Condition)
    workers: int = 1
    stopped: bool = False

    def run(self, steps: Sequence[Step], workers: int) -> set[str]:
        """Run what is not done yet: the names of the steps that failed, or that build on one that failed.

        steps: each after those that it needs. workers: processes at a time. KeyboardInterrupt stops them all; what
        they were at goes on when this is called again.
        """
        self.workers, self.waiting = workers, self.marks.undone(steps)
        self.done = {step.name for step in steps} - {step.name for step in self.waiting}
        for step in self.waiting:
            self.marks.path(step).unlink(missing_ok=True)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except KeyboardInterrupt:
            with self.change:
                self.stopped = True
                self.change.notify_all()
            for thread in threads:
                thread.join()
            raise
        return self.failed

    def _next(self) -> Step | None:
        """A step that may begin, when there is one; None when there will be none."""
        with self.change:
            while not self.stopped:
                for step in [each for each in self.waiting if self.failed.intersection(each.after)]:
                    self.waiting.remove(step)
                    self.failed.add(step.name)
                for step in self.waiting:
                    if self.done.issuperset(step.after):
                        self.waiting.remove(step)
                        return step
                if not self.waiting:
                    break
                self.change.wait()
            return None

    def _work(self) -> None:
        process = None
        while step := self._next():
            process, good = self._tried(step, process)
            with self.change:
                (self.done if good else self.failed).add(step.name)
                self.change.notify_all()
        if process is not None:
            _end(process)

    def _tried(self, step: Step, process: subprocess.Popen[str] | None) -> tuple[subprocess.Popen[str] | None, bool]:
        """Run a step, again where its process was killed: the process for the next one, and whether it was done."""
        for _ in range(TRIES):
            process = process or _start()
            for path in step.fresh:
                shutil.rmtree(path, ignore_errors=True)
            answer = self._answer(step, process)
            if answer is not None:
                return process, self._judged(step, answer)
            _end(process)
            process = None
            if self.stopped:
                return None, False
            self.say(f"{step.name}: its process was killed")
        return None, False

    def _answer(self, step: Step, process: subprocess.Popen[str]) -> dict[str, Any] | None:
        """What a process says of a step, None where it was killed."""
        assert process.stdin is not None
        assert process.stdout is not None
        self.say(f"{step.name}: {step.line}")
        log, out = self._files(step)
        try:
            process.stdin.write(json.dumps({"words": step.words, "log": str(log), "out": str(out)}) + "\n")
            process.stdin.flush()
            return dict(json.loads(process.stdout.readline()))
        except (BrokenPipeError, ValueError):
            return None

    def _judged(self, step: Step, answer: dict[str, Any]) -> bool:
        log, out = self._files(step)
        code, took = answer.pop("rc"), {**answer, "workers": self.workers, "load": round(os.getloadavg()[0], 2)}
        line = {"name": step.name, "words": step.words, "rc": code, "ended": round(time.time()), **took}
        with self.change, open(self.journal, "a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")
        if code == 0:
            self.marks.keep(step, took, out.read_text())
            out.unlink()
            self.say(f"{step.name}: done, {took['wall']:.0f} s")
        elif not self.stopped:
            said = [*log.read_text(errors="replace").splitlines()[-LAST:]]
            self.say("\n  ".join([f"{step.name}: FAILED ({code}); {log} ends:", *said]))
        return bool(code == 0)

    def _files(self, step: Step) -> tuple[Path, Path]:
        path = self.marks.path(step)
        return path.with_suffix(".log"), path.with_suffix(".out")


def _start() -> subprocess.Popen[str]:
    one = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    return subprocess.Popen(
        [sys.executable, str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **one},
    )


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    process.stdout.close()
    process.wait()
