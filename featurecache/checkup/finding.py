"""What one look found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LONGEST = 300  # characters of a stranger's error message


@dataclass(frozen=True)
class Finding:
    """One line of the answer.

    name: what was looked at. status: WARN where something works badly or an optional part is broken, FAIL where the
    cache cannot be trusted or nothing works. said: what is there. mend: what to do; empty where nothing needs doing.
    """

    name: str
    status: Literal["PASS", "WARN", "FAIL"]
    said: str
    mend: str = ""


def passed(name: str, said: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "PASS", said)


def warned(name: str, said: str, mend: str) -> Finding:
    """Something works badly, or an optional part does not work."""
    return Finding(name, "WARN", said, mend)


def failed(name: str, said: str, mend: str) -> Finding:
    """Nothing here can be relied on before this is mended."""
    return Finding(name, "FAIL", said, mend)


def one_line(error: object) -> str:
    """An error of anyone's on one line of bounded length, with its type where it is an exception."""
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)
    line = "".join(char if char.isprintable() else "�" for char in " ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
