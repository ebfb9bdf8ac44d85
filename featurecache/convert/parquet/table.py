"""A stranger's Parquet file as columns of numbers and text, read by another process (child.py)."""

from __future__ import annotations

import importlib.util
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurecache import layout
from featurecache.convert.blocks import block_rows, check_inflation
from featurecache.convert.child import Child
from featurecache.disk import open_regular

CHILD = Path(__file__).with_name("child.py")
MAGIC = b"PAR1"
MAX_FOOTER = 2**24
SECONDS, SPEED = 60, 2**20  # of the process: at least, and one more for so many bytes
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}  # its memory is limited
COUNT = struct.Struct("<I")
FAILED = 2**32 - 1
TEXT = "text"
TEXT_BYTES = 64  # of a row's name, for the size of a block
_DTYPE = re.compile(r"[iu][1248]|f[248]|text")
_NUMBERED = re.compile(r"(.+_)([0-9]{1,7})", re.DOTALL)


def check_library() -> None:
    """ImportError, saying what to install, without pyarrow."""
    if importlib.util.find_spec("pyarrow") is None:
        raise ImportError("Parquet files need pyarrow: pip install 'featurecache-rebalance[parquet]'")


@dataclass(frozen=True)
class Field:
    """A column that can be read. width: of its lists, None for one value a row. dtype: of NumPy, or "text"."""

    width: int | None
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Of one row; of a text what is usual."""
        return TEXT_BYTES if self.dtype == TEXT else int(self.dtype[1]) * (1 if self.width is None else self.width)


class Table:
    """A Parquet file that is open until the stack closes.

    path: the file. ValueError in one line when it is damaged, ImportError without pyarrow.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        check_library()
        self._path = path
        with self._naming():
            if importlib.util.find_spec("resource") is None:
                raise ValueError("Parquet files are read in a process with limits; convert it on Linux or macOS")
            file = stack.enter_context(open_regular(path))
            self._size = file.seek(0, 2)
            file.seek(max(0, self._size - 8))
            end = file.read()
            if self._size < 12 or end[4:] != MAGIC:
                raise ValueError("no Parquet file, or one that is cut short")
            if COUNT.unpack(end[:4])[0] > min(self._size, MAX_FOOTER):
                raise ValueError(f"its footer has {COUNT.unpack(end[:4])[0]} bytes; expected at most {MAX_FOOTER}")
            seconds = str(SECONDS + self._size // SPEED)
            self._child = stack.enter_context(Child(CHILD, file, seconds, library="Parquet", environment=ENVIRONMENT))
            self.rows, self._fields = _fields(self._child.line())
        self._groups = _numbered(self._fields)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise ValueError(f"{layout.shown(self._path)}: {error}") from None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Column name -> shape; feature_0, feature_1, … are one column more, feature_*."""
        out: dict[str, tuple[int, ...]] = {name: (self.rows, len(members)) for name, members in self._groups.items()}
        for name, field in self._fields.items():
            out[name] = (self.rows,) if field.width is None else (self.rows, field.width)
        return out

    def batches(self, chosen: Mapping[str, str], *, beside: int = 0) -> Iterator[dict[str, Any]]:
        """The rows of these columns, in blocks; once only.

        chosen: names to give them -> theirs. beside: bytes that a row has elsewhere.
        ValueError when a cell is empty, a list of another length, or the file damaged.
        """
        parts = {name: self._groups.get(theirs, [theirs]) for name, theirs in chosen.items()}
        wanted = list(dict.fromkeys(name for members in parts.values() for name in members))
        row_bytes = sum(self._fields[name].row_bytes for name in wanted)
        check_inflation(self.rows * row_bytes, self._size, self._path)
        most = block_rows(row_bytes + beside)
        self._child.tell({"columns": wanted, "rows": most})
        rows = 0
        while True:
            with self._naming():
                taken = self._count(most)
                if rows + taken > self.rows or (not taken and rows != self.rows):
                    raise ValueError(f"{rows + taken} rows; its footer says {self.rows}: the file is damaged")
                columns = {name: self._column(self._fields[name], taken) for name in wanted} if taken else {}
            if not taken:
                return
            rows += taken
            yield {name: _joined([columns[member] for member in members]) for name, members in parts.items()}

    def _count(self, most: int) -> int:
        """The rows of the next block."""
        count = self._integer()
        if count == FAILED:
            raise self._child.refusal(self._child.exactly(min(self._integer(), 4096)).decode("utf-8", "replace"))
        if count > most:
            raise ValueError(f"a block of {count} rows; asked for at most {most}")
        return count

    def _integer(self) -> int:
        return int(COUNT.unpack(self._child.exactly(COUNT.size))[0])

    def _column(self, field: Field, rows: int) -> NDArray[Any] | list[str]:
        """One column of a block."""
        if field.dtype != TEXT:
            flat = np.frombuffer(self._child.exactly(rows * field.row_bytes), f"<{field.dtype}")
            return flat if field.width is None else flat.reshape(rows, field.width)
        lengths = np.frombuffer(self._child.exactly(rows * COUNT.size), "<u4").tolist()
        if max(lengths) > layout.MAX_ID:
            raise ValueError(f"a text of {max(lengths)} bytes; expected at most {layout.MAX_ID}")
        data = self._child.exactly(sum(lengths))
        ends = np.cumsum(lengths).tolist()
        return [data[end - length : end].decode("utf-8", "replace") for end, length in zip(ends, lengths, strict=True)]


def _fields(said: dict[str, Any]) -> tuple[int, dict[str, Field]]:
    """The rows and columns that the process speaks of; ValueError when they are none."""
    rows, columns = said.get("rows"), said.get("columns")
    if type(rows) is not int or not isinstance(columns, dict):
        raise ValueError("no list of columns")
    out = {}
    for name, entry in columns.items():
        width, dtype = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        known = isinstance(dtype, str) and _DTYPE.fullmatch(dtype)
        if not known or not (width is None or (type(width) is int and width >= 0 and dtype != TEXT)):
            raise ValueError("a column of another kind")
        out[name] = Field(width, str(dtype))
    return rows, out


def _numbered(fields: Mapping[str, Field]) -> dict[str, list[str]]:
    """feature_0, feature_1, … in their order, under the name feature_*."""
    found: dict[str, dict[int, str]] = {}
    for name, field in fields.items():
        parts = _NUMBERED.fullmatch(name)
        if parts and field.width is None and field.dtype != TEXT:
            found.setdefault(f"{parts[1]}*", {})[int(parts[2])] = name
    return {
        name: [members[i] for i in range(len(members))]
        for name, members in found.items()
        if members.keys() == set(range(len(members)))
    }


def _joined(parts: Sequence[Any]) -> Any:
    """One column as it is, several side by side."""
    return parts[0] if len(parts) == 1 else np.stack(parts, axis=1)
