"""One candidate in a process of its own, which is killed when it takes too long."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from comparing.questions import Candidate

FOLDER = Path(__file__).resolve().parent.parent  # where `comparing` is found
START = 300.0  # seconds in which a process has to be ready: it imports libraries, fits a few rows and loads arrays
GRACE = 1.5  # times the limit: a fit that ends itself finishes an iteration first


class Stopped(Exception):
    """The candidate gave no answer: it was killed, refused, or died. The message is what its row says."""


class Worker:
    """A started process; `with` ends it.

    candidate: what it fits. folder: of the material. limit: seconds a fit may take. size: bytes it may take, or None.
    """

    def __init__(self, candidate: Candidate, folder: Path, limit: float, size: int | None) -> None:
        self._limit = limit
        self._doing = ""
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        words = [candidate.side, candidate.name, str(folder), str(limit), str(size or 0)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "comparing.child", *words],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._answers.put(line)
        self._answers.put(None)

    def ready(self) -> None:
        """Wait until it has imported and loaded what it needs; Stopped when it does not."""
        self._answer(START, "imports and data")

    def fit(self) -> dict[str, Any]:
        """seconds, note, decides; Stopped when there is none within the limit."""
        self._tell("fit")
        return self._answer(GRACE * self._limit, "fit")

    def predict(self, file: Path, within: float | None = None) -> dict[str, Any]:
        """seconds, peak, libraries; the log-probabilities lie in the file. Stopped as in `fit`, or within so many s."""
        self._tell(f"predict {file}")
        return self._answer(within or GRACE * self._limit, "prediction")

    def decide(self, file: Path) -> dict[str, Any]:
        """As `predict`; the decisions lie in the file."""
        self._tell(f"decide {file}")
        return self._answer(GRACE * self._limit, "deciding")

    def _tell(self, line: str) -> None:
        with suppress(BrokenPipeError):  # it died, which the answer will say
            print(line, file=self._process.stdin, flush=True)

    def _answer(self, limit: float, what: str) -> dict[str, Any]:
        deadline = time.monotonic() + limit
        while True:
            try:
                line = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self._process.kill()
                doing = f", at {self._doing}" if self._doing else ""
                raise Stopped(f"killed after {limit:.0f} s of {what}{doing}") from None
            if line is None:
                raise Stopped(self._death())
            answer: dict[str, Any] = json.loads(line)
            if "failed" in answer:
                raise Stopped(answer["failed"] + (f" (at {self._doing})" if self._doing else ""))
            if "doing" not in answer:
                return answer
            self._doing = answer["doing"]

    def _death(self) -> str:
        """What a process that ended without an answer left: its signal, or the last line of its errors."""
        code = self._process.wait()
        if code < 0:
            return f"died of signal {-code}" + (f", at {self._doing}" if self._doing else "")
        self._errors.seek(0)
        return f"failed: {(self._errors.read().strip().splitlines() or [f'exit {code}'])[-1][:300]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process, if it has not ended, and free what it takes."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
