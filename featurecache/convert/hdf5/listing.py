"""What an HDF5 file holds, as the child process lists it: every word of it checked, for it may be a lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featurecache.convert.child import Child
from featurecache.convert.hdf5.filters import DEFLATE, LZF, UNDO
from featurecache.convert.hdf5.rows import TABLE, Stored
from featurecache.convert.hdf5.text import REFERENCE
from featurecache.layout import MAX_ID
from featurecache.quoting import shown

MAX_LISTED, MAX_RANK, MAX_DIMENSION = 2000, 32, 2**63
MAX_CHUNKS, MAX_COMPACT = 2**21, 2**16  # the child notes about 400,000 chunks a second
FLOOR, RATIO = 2**26, 200  # bytes that any file may expand to; beyond, how many times its size
NUMBERS = {f"{order}{kind}{size}" for order in "<>" for kind in "fiu" for size in (1, 2, 4, 8)} - {"<f1", ">f1"}


@dataclass(frozen=True)
class Found:
    """A dataset, or what stands in its place, in the list.

    stored: what is known of its place; its file and table are still missing. layout: contiguous, chunked or compact.
    padding: of text of one width. refused: why it cannot be read, or nothing.
    """

    stored: Stored
    layout: str = ""
    padding: int = 0
    refused: str = ""

    @property
    def is_heap(self) -> bool:
        """Whether its rows refer to text that lies elsewhere."""
        return self.stored.dtype == REFERENCE

    def filled(self, child: Child, file: int, size: int) -> Stored:
        """Its place in the file, with the chunk table or the values that the child sends next.

        file: descriptor. size: bytes of the file. ValueError in one line where it cannot be read.
        """
        stored, what = replace(self.stored, file=file, size=size), self.stored.what
        nbytes = stored.dtype.itemsize * math.prod(stored.shape)
        if nbytes > FLOOR + RATIO * size:
            raise ValueError(
                f"{what} would expand to {nbytes} bytes, from a file of {size}: it is declared, not filled"
            )
        if self.layout == "compact":
            return replace(stored, data=child.exactly(nbytes))
        if self.layout == "contiguous":
            return stored
        return replace(stored, table=np.frombuffer(child.exactly(TABLE.itemsize * _chunks(stored)), TABLE))


def parse_listing(said: dict[str, Any]) -> tuple[dict[str, Found], int]:
    """Every dataset and strange link by its path, and the byte from which addresses of texts count.

    ValueError where the list is not one.
    """
    datasets, base = said.get("datasets"), said.get("base")
    if not isinstance(datasets, dict) or len(datasets) > MAX_LISTED or not (type(base) is int and 0 <= base < 2**63):
        raise ValueError("the HDF5 library gave no list of what it holds")
    return {name: _found(name, entry, said.get("sizes")) for name, entry in datasets.items()}, base


def _found(name: str, entry: Any, sizes: Any) -> Found:
    nothing = Stored(-1, 0, name, np.dtype("u1"), ())
    reason = entry.get("refused") if isinstance(entry, dict) else "its description makes no sense"
    if isinstance(reason, str):
        plain = reason.isprintable() and 0 < len(reason) < 200
        return Found(nothing, refused=reason if plain else shown(reason))
    try:
        found = _parsed(nothing, entry)
    except (TypeError, ValueError, KeyError):
        return Found(nothing, refused="its description makes no sense")
    return replace(found, refused=_refusal(found, entry["filters"], sizes))


def _parsed(nothing: Stored, entry: dict[str, Any]) -> Found:
    """The description in its types; TypeError, ValueError or KeyError where something in it is of another."""
    shape, chunk, filters = entry["shape"], entry.get("chunk", []), entry["filters"]
    layout, dtype, padding, offset = entry["layout"], entry["dtype"], entry.get("padding", 0), entry.get("offset")
    pairs = [number for pair in filters for number in pair]
    if not all(map(_is_number, [*shape, *chunk, *pairs, padding])) or not (offset is None or _is_number(offset)):
        raise TypeError
    chunked = layout == "chunked"
    if not 1 <= len(shape) <= MAX_RANK or len(chunk) != (len(shape) if chunked else 0) or 0 in chunk:
        raise ValueError
    if (
        layout not in ("chunked", "contiguous", "compact")
        or {len(pair) for pair in filters} - {2}
        or type(dtype) is not str
    ):
        raise ValueError
    width = dtype[2:] if dtype.startswith("|S") else ""
    if not (dtype in NUMBERS or dtype == "text" or (width.isascii() and width.isdigit() and 0 < len(width) < 10)):
        raise ValueError
    kind = REFERENCE if dtype == "text" else np.dtype(dtype if not width else f"|S{max(1, int(width))}")
    stored = replace(nothing, dtype=kind, shape=tuple(shape), offset=offset, chunk=tuple(chunk))
    return Found(replace(stored, filters=tuple((code, value) for code, value in filters)), layout, padding)


def _refusal(found: Found, filters: list[list[int]], sizes: Any) -> str:
    """Why a dataset cannot be read, or nothing."""
    stored = found.stored
    codes = [code for code, _ in filters]
    strange = [code for code in codes if code not in UNDO]
    if strange:
        return (
            f"its filter {strange[0]} is none of deflate, shuffle, fletcher32 and lzf; rewrite it: h5repack -f GZIP=4"
        )
    if len(set(codes)) != len(codes) or {DEFLATE, LZF} <= set(codes):
        return "it is compressed twice"
    if stored.dtype.kind == "S" and stored.dtype.itemsize > MAX_ID:
        return f"its texts are {stored.dtype.itemsize} bytes wide; expected at most {MAX_ID}"
    if found.is_heap and sizes != [8, 8]:
        return "its text of any length lies at addresses that are not 8 bytes long"
    if found.layout == "compact" and (found.is_heap or stored.dtype.itemsize * math.prod(stored.shape) > MAX_COMPACT):
        return "it is compact and holds text of any length, or too much"
    if found.layout == "chunked" and _chunks(stored) > MAX_CHUNKS:
        return f"it has {_chunks(stored)} chunks; expected at most {MAX_CHUNKS}: declared, not filled"
    if 0 in stored.shape:
        return f"its shape is {stored.shape}: it is empty"
    return ""


def _chunks(stored: Stored) -> int:
    return math.prod(-(-n // step) for n, step in zip(stored.shape, stored.chunk, strict=True))


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < MAX_DIMENSION
