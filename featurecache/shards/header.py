"""The header of a shard: packed by the writer, parsed and checked by the reader. See featurecache.layout."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from featurecache import disk, layout
from featurecache.layout import MAX_USER_BLOCK, MEND, MIN_USER_BLOCK, Column

MAGIC = b"FCSHARD\n"
PREFIX = struct.Struct("<8sII")
MAX_CRC = 2**32
MAX_SPARE = MAX_USER_BLOCK + 2**20  # bytes of a file that are in no column
KNOWN = {"format", "schema", "split", "shard", "rows", "block", "size", "structure", "columns", "cache"}


@dataclass(frozen=True)
class Header:
    """What the user block of a shard says.

    split, shard: which one it is. rows: n. block: rows that share a checksum. columns: in file order. cache: what
    cache.json says of this split. size: bytes of the file. structure: CRC32 of the bytes that are in no column.
    more: entries that a newer release wrote and this one does not know.
    """

    split: str
    shard: int
    rows: int
    block: int
    columns: dict[str, Column]
    cache: dict[str, Any]
    size: int = 0
    structure: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def blocks(self) -> int:
        """How many blocks of rows there are."""
        return -(-self.rows // self.block)

    @property
    def data(self) -> dict[str, Column]:
        """The columns but their checksums."""
        return {name: column for name, column in self.columns.items() if name != "crc"}

    def span(self, name: str, block: int) -> tuple[int, int]:
        """Where a block of a column lies: its first byte and their number."""
        column = self.columns[name]
        row = column.nbytes // self.rows
        start, stop = block * self.block, min((block + 1) * self.block, self.rows)
        return column.offset + start * row, (stop - start) * row

    def pack(self) -> bytes:
        """The bytes that go to the start of the user block."""
        text = self._text()
        return PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text

    @property
    def key(self) -> int:
        """CRC32 of the packed header: which shard a journal belongs to."""
        return zlib.crc32(self.pack())

    @property
    def user_block(self) -> int:
        """The smallest power of two of at least 4096 bytes that holds the header with any numbers in it."""
        widest = {name: replace(column, offset=layout.MAX_OFFSET) for name, column in self.columns.items()}
        text = replace(self, columns=widest, size=layout.MAX_OFFSET, structure=MAX_CRC)._text()
        needed = PREFIX.size + len(text)
        size = max(MIN_USER_BLOCK, 1 << (needed - 1).bit_length())
        if size > MAX_USER_BLOCK:
            raise ValueError(
                f"the shard header is {needed} bytes, at most {MAX_USER_BLOCK} fit: shorten the class names"
            )
        return size

    def _text(self) -> bytes:
        document = {
            "format": layout.SHARD_FORMAT,
            "schema": list(layout.SCHEMA),
            "split": self.split,
            "shard": self.shard,
            "rows": self.rows,
            "block": self.block,
            "size": self.size,
            "structure": self.structure,
            "columns": {
                name: {"dtype": column.dtype.str, "shape": list(column.shape), "offset": column.offset}
                for name, column in self.columns.items()
            },
            "cache": self.cache,
            **self.more,
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def read_header(path: Path) -> Header:
    """The header of a shard, every number checked before anything is allocated or mapped.

    path: of a shard, finished or not. ValueError in one line when it is damaged, cut short or no shard; OSError when
    it cannot be read.
    """
    with disk.opened(path) as file:
        start = file.read(MIN_USER_BLOCK)
        if start[: len(MAGIC)] != MAGIC:
            begins = f"its first bytes are {start[:8]!r}" if start else "it is empty"
            raise ValueError(f"{path}: not a shard of a feature cache ({begins}); {MEND}")
        if len(start) < MIN_USER_BLOCK:
            raise ValueError(f"{path}: the shard is cut short ({len(start)} bytes); {MEND}")
        _, length, crc = PREFIX.unpack_from(start)
        text = start[PREFIX.size : PREFIX.size + length]
        if length > len(text):
            text += file.read(min(length, MAX_USER_BLOCK) - len(text))
        size = disk.size_of(file)
    if len(text) != length or zlib.crc32(text) != crc:
        raise ValueError(f"{path}: the shard's header is damaged (checksum differs); {MEND}")
    document = layout.parse_json(text, path)
    layout.check_format(document, layout.SHARD_FORMAT, path)
    return parse_header(document, size, path)


def parse_header(document: dict[str, Any], size: int, path: Path) -> Header:
    """The header in a document whose format and version were checked.

    size: bytes of the file. ValueError in one line when a column is missing, of another type, or does not fit.
    """
    rows, entries, block = document.get("rows"), document.get("columns"), document.get("block")
    if type(rows) is not int or not 0 < rows <= layout.MAX_ROWS or not isinstance(entries, dict):
        raise ValueError(f"{path}: the shard's header gives {str(rows)[:40]!r} rows; expected 1 or more, and columns")
    if type(block) is not int or not 0 < block <= layout.MAX_ROWS:
        raise ValueError(f"{path}: the shard's header gives blocks of {str(block)[:40]!r} rows; expected 1 or more")
    split, shard, structure, cache = (document.get(name) for name in ("split", "shard", "structure", "cache"))
    if type(shard) is not int or not isinstance(split, str) or type(structure) is not int or type(cache) is not dict:
        raise ValueError(f"{path}: the shard's header does not say which shard of what it is; {MEND}")
    if set(entries) - set(layout.OPTIONAL) != set(layout.REQUIRED):
        raise ValueError(
            f"{path}: the shard has columns {', '.join(sorted(entries))[:100]!r}; expected {', '.join(layout.REQUIRED)}"
        )
    if document.get("size") != size:
        raise ValueError(
            f"{path}: it has {size} bytes, its header says {str(document.get('size'))[:20]!r}: "
            f"the file is damaged or cut short; {MEND}"
        )
    columns = {name: _parse_column(name, entry, rows, path) for name, entry in entries.items()}
    _check_places(columns, size, path)
    more = {name: value for name, value in document.items() if name not in KNOWN}
    header = Header(split, shard, rows, block, columns, cache, size, structure, more)
    if list(columns)[-1] != "crc" or columns["crc"].shape != (header.blocks, len(columns) - 1):
        raise ValueError(f"{path}: checksums of shape {columns['crc'].shape} do not fit its columns; {MEND}")
    return header


def _check_places(columns: dict[str, Column], size: int, path: Path) -> None:
    spans = sorted((column.offset, column.offset + column.nbytes, name) for name, column in columns.items())
    end, before = MIN_USER_BLOCK, "the header"
    for start, stop, name in spans:
        if start < end or stop > size:
            where = f"overlaps {before}" if start < end else f"ends at byte {stop} of a file of {size}"
            raise ValueError(f"{path}: column {name} {where}: the file is damaged or cut short; {MEND}")
        end, before = stop, name
    if (spare := size - sum(column.nbytes for column in columns.values())) > MAX_SPARE:
        raise ValueError(f"{path}: {spare} bytes of it are in no column; expected at most {MAX_SPARE}; {MEND}")


def _parse_column(name: str, entry: Any, rows: int, path: Path) -> Column:
    shape, offset = (entry.get("shape"), entry.get("offset")) if isinstance(entry, dict) else (None, None)
    dtype = entry.get("dtype") if isinstance(entry, dict) else None
    if name == "sample_id":
        digits = dtype[2:] if isinstance(dtype, str) and dtype.startswith("|S") else ""
        known = digits.isascii() and digits.isdigit() and len(digits) < 6 and 0 < int(digits) <= layout.MAX_ID
    else:
        known = dtype in layout.DTYPES[name]
    wide = {"features": layout.MAX_WIDTH, "logits": layout.MAX_CLASSES, "crc": len(layout.DTYPES)}.get(name)
    fits = (
        isinstance(shape, list)
        and len(shape) == (2 if wide else 1)
        and all(type(number) is int for number in shape)
        and (0 < shape[0] <= rows if name == "crc" else shape[0] == rows)
        and (wide is None or 0 < shape[1] <= wide)
    )
    aligned = type(offset) is int and 0 <= offset < layout.MAX_OFFSET and offset % layout.ALIGNMENT == 0
    if not (known and fits and aligned and isinstance(offset, int)):
        raise ValueError(
            f"{path}: column {name} is given as {json.dumps(entry)[:100]}; expected a known dtype, "
            f"a shape of {rows} rows and an offset"
        )
    return Column(np.dtype(str(dtype)), tuple(shape or ()), offset)
