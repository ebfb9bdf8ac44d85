"""A process that gives a stranger's file to a library, seen from outside.

It may be in the hands of the file it reads. So nothing that it sends is run or unpickled, and every message has a bound
in bytes and in seconds that is known beforehand.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Self, cast

from featurecache.quoting import shown

SECONDS = 20.0  # for each message
MAX_LINE = 2**23  # bytes
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Child:
    """The process; a context manager that ends it.

    program: a Python file, run by its path. file: open; its descriptor's number is the first argument.
    arguments: the others. library: what it calls, for messages. environment: of its own.
    ValueError in one line when it crashes, takes too long, or says that the library refused the file.
    """

    def __init__(
        self, program: Path, file: BinaryIO, *arguments: str, library: str, environment: Mapping[str, str]
    ) -> None:
        self._library = library
        search = os.pathsep.join(each for each in sys.path if each)  # libraries are found where this process finds them
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-B", str(program), str(file.fileno()), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=(file.fileno(),),
            env={**kept, **QUIET, **environment, "PYTHONPATH": search},
        )
        self._to, self._from = cast(tuple[IO[bytes], IO[bytes]], (self._process.stdin, self._process.stdout))
        self._heard = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._to.close()
        self._from.close()

    def tell(self, value: Any) -> None:
        """Send one line of JSON; that the process is gone is noticed when it is heard."""
        with suppress(BrokenPipeError):
            self._to.write(json.dumps(value).encode() + b"\n")

    def line(self) -> dict[str, Any]:
        """One line of JSON; ValueError when it says {"error": …}."""
        deadline = time.monotonic() + SECONDS
        while b"\n" not in self._heard:
            if len(self._heard) > MAX_LINE:
                raise ValueError("the list of what it holds has no end")
            self._hear(deadline)
        line, _, rest = bytes(self._heard).partition(b"\n")
        self._heard = bytearray(rest)
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or "error" in said:
            raise self.refusal(said.get("error") if isinstance(said, dict) else said)
        return said

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        deadline = time.monotonic() + SECONDS
        while len(self._heard) < size:
            self._hear(deadline)
        out = bytes(memoryview(self._heard)[:size])
        del self._heard[:size]
        return out

    def refusal(self, error: object) -> ValueError:
        """What the library said, as an error to raise."""
        return ValueError(f"the {self._library} library refused it: {shown(error)}")

    def _hear(self, deadline: float) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._from, selectors.EVENT_READ)
            if not waiting.select(max(0.0, deadline - time.monotonic())):
                raise ValueError(f"the {self._library} library took too long on it (more than {SECONDS:.0f} s)")
        data = os.read(self._from.fileno(), 2**20)
        if not data:
            raise ValueError(f"the {self._library} library {self._fate()} on it")
        self._heard += data

    def _fate(self) -> str:
        """How the process ended."""
        try:
            code = self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return "stopped answering"
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return "took too long or too much memory"
        return f"crashed (signal {-code})" if code < 0 else "stopped"
