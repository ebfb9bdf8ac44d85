""".npy files: one array each, mapped and never unpickled."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featurecache.convert.blocks import table_blocks
from featurecache.convert.columns import Block
from featurecache.disk import open_regular
from featurecache.layout import shown as shown_path
from featurecache.quoting import shown

MAGIC = b"\x93NUMPY"
MAX_HEADER = 65_536
_FIELDS = {
    "descr": re.compile(r"""['"]descr['"] *: *['"]([<>|=]?[a-zA-Z][0-9]{0,6})['"]"""),
    "order": re.compile(r"""['"]fortran_order['"] *: *(True|False)"""),
    "shape": re.compile(r"""['"]shape['"] *: *\(((?:[0-9]{1,19}L?)?(?:, *[0-9]{1,19}L?)*,?) *\)"""),
}


class Readable(Protocol):
    """Something that bytes come from."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Header:
    """What an array is. size: bytes of this header. fortran: whether the first index runs fastest."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    size: int

    @property
    def nbytes(self) -> int:
        """Of its values."""
        return self.dtype.itemsize * math.prod(self.shape)


def matches(path: Path) -> bool:
    """Whether it is one .npy file, by its name."""
    return path.suffix.lower() == ".npy" and not path.is_dir()


def read(path: Path, names: Mapping[str, str]) -> Iterator[Block]:
    """Blocks of the features in a .npy file, with the columns that lie in other .npy files beside it.

    path: (N, D). names: labels=FILE and so on, in the folder of `path` or below it.
    ValueError when one of them is no array of numbers, is cut short, or has other rows.
    """
    columns = {path.name: open_array(path)}
    for ours, theirs in names.items():
        if theirs and theirs != path.name:
            columns[theirs] = open_array(_beside(path, ours, theirs))
    yield from table_blocks(columns, {"features": path.name, **names}, path)


def open_array(path: Path) -> NDArray[Any]:
    """The array of a .npy file as a memory map; ValueError when the file is not what its header says."""
    try:
        with open_regular(path) as file:
            header = read_header(file)
            size = file.seek(0, 2)
            if header.size + header.nbytes > size:
                raise ValueError(f"is cut short: {size} bytes of {header.size + header.nbytes}")
            if not header.nbytes:
                raise ValueError(f"holds no values (shape {header.shape}); expected one row or more")
            order = "F" if header.fortran else "C"
            # The open file and not its name: what was checked is what is mapped.
            mapped = np.memmap(file, header.dtype, "r", header.size, header.shape, order)  # type: ignore[call-overload]
            return np.asarray(mapped)
    except ValueError as error:
        raise ValueError(f"{shown_path(path)}: {error}") from None


def read_header(stream: Readable) -> Header:
    """The header at the start of an array; ValueError when there is none, or of a kind that holds no numbers or text.

    stream: stands behind the header afterwards.
    """
    start = stream.read(8)
    if len(start) < 8 or start[:6] != MAGIC or start[6] not in (1, 2, 3):
        raise ValueError(f"is no NumPy array (it begins with {start!r})")
    size = 2 if start[6] == 1 else 4
    length_bytes = stream.read(size)
    length = struct.unpack("<H" if size == 2 else "<I", length_bytes)[0] if len(length_bytes) == size else 0
    if not 0 < length <= MAX_HEADER:
        raise ValueError(f"has a header of {length} bytes; expected 1 to {MAX_HEADER}")
    text = stream.read(length).decode("latin-1")
    found = {name: pattern.search(text) for name, pattern in _FIELDS.items()}
    descr, order, shape = (found[name] for name in ("descr", "order", "shape"))
    if len(text) < length or descr is None or order is None or shape is None:
        raise ValueError(f"has a header of another kind ({shown(text.strip())}); expected one array of numbers")
    sizes = tuple(int(number.strip(" L")) for number in shape[1].split(",") if number.strip())
    if len(sizes) > 32:
        raise ValueError(f"has {len(sizes)} dimensions; expected one or two")
    return Header(sizes, _dtype(descr[1]), order[1] == "True", 8 + size + length)


def _dtype(descr: str) -> np.dtype[Any]:
    kind = descr.lstrip("<>|=")[0]
    if kind == "O":
        raise ValueError(
            "holds Python objects, which are never unpickled; save it as numbers, or as text: .astype(str)"
        )
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError):
        raise ValueError(f"has values of type {shown(descr)}; expected numbers or text") from None
    if kind not in "fiubSU" or not dtype.itemsize:
        raise ValueError(f"has values of type {shown(descr)}; expected numbers or text")
    return dtype


def _beside(path: Path, ours: str, theirs: str) -> Path:
    """The file that holds one more column; ValueError unless it is in the folder of `path`."""
    folder = path.parent.resolve()
    beside = folder / theirs
    if "\0" in theirs or not beside.resolve().is_relative_to(folder) or not beside.is_file():
        raise ValueError(
            f"--map {ours}={shown(theirs)}: no such file in the folder of {shown_path(path)}; "
            "expected the name of a .npy file beside it"
        )
    return beside


def write_header(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """The header of a C-ordered array; its values follow it."""
    entry = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, entry)
