"""The on-disk format, version 1. This docstring is its specification.

A cache is a folder::

    cache.json               what the cache is, and the plan of its shards
    head.safetensors         weight (K, D) and bias (K,): the classifier the features belong to; absent if there is none
    SPLIT/00000.h5 …         the shards of a split, in row order

``cache.json`` is UTF-8 JSON::

    {"format": "featurecache", "schema": [1, 0],
     "specification": {…},         everything that decides the numbers; equal specifications, equal features
     "hash": "…",                  SHA-256 of the specification as canonical JSON (sorted keys, no spaces)
     "classes": K, "class_names": ["…", …] or null,
     "splits": {"train": {"rows": N, "batch_size": B, "bounds": [0, …, N], "seen": true, "data": "…" or null}, …}}

Shard i of a split holds the rows ``bounds[i] .. bounds[i+1] - 1``. A file that the plan names and that exists is
complete, for it is renamed into place when whole; one that does not exist is still to be made. ``seen`` says whether
the backbone was trained on these rows (null: not known), ``data`` is a digest of the ids and labels they came from.

A shard is an ordinary HDF5 file (superblock 2) of contiguous, unfiltered root datasets without attributes, whose
first dimension is the shard's rows:

    features   (n, D)  <f2 or <f4      the input of the classifier layer
    logits     (n, K)  <f4             its output; absent where the extraction was told so
    labels     (n,)    <i8             column indices of the logits; -1 = unlabelled
    index      (n,)    <i8             the row's place in its split
    sample_id  (n,)    |S              UTF-8, padded with zero bytes to one width
    status     (n,)    |u1             0 = fine, 1 = the sample could not be read (label -1, zeros)

Before the HDF5 superblock lies a user block, the smallest power of two of at least 4096 bytes that holds it:

    byte 0   8 bytes   magic, 46 43 53 48 41 52 44 0A ("FCSHARD" and a line feed)
    byte 8   uint32    little-endian length L of the header
    byte 12  uint32    little-endian CRC32 of the header
    byte 16  L bytes   the header, UTF-8 JSON; then zeros

    {"format": "featurecache.shard", "schema": [1, 0], "split": "train", "shard": 0, "rows": n,
     "columns": {"features": {"dtype": "<f2", "shape": [n, D], "offset": 8192}, …},
     "cache": {…}}            what cache.json says, with this split only: any shard can rebuild it

Offsets count from the start of the file and are multiples of 64. The reader parses this header, checks it, and maps
the columns; it makes no HDF5 call, because a file somebody else made can hang or crash that library. Nothing in a
shard depends on the time, the process or the path. A reader refuses a newer first number of the schema.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = (1, 0)
CACHE_FORMAT, SHARD_FORMAT = "featurecache", "featurecache.shard"
CACHE_FILE, HEAD_FILE = "cache.json", "head.safetensors"

MAGIC = b"FCSHARD\n"
PREFIX = struct.Struct("<8sII")
MIN_USER_BLOCK, MAX_USER_BLOCK = 4096, 2**26
ALIGNMENT = 64

MEND = "delete this file and run the same extraction again"

MAX_OFFSET = 2**63
MAX_ROWS, MAX_WIDTH, MAX_CLASSES, MAX_ID = 2**40, 2**20, 10**6, 4096
REQUIRED = ("features", "labels", "index", "sample_id", "status")
DTYPES = {
    "features": ("<f2", "<f4"),
    "logits": ("<f4",),
    "labels": ("<i8",),
    "index": ("<i8",),
    "status": ("|u1",),
}

_SPLIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Column:
    """Where a column lies in its shard. offset: bytes from the start of the file, -1 while it is not known."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int = -1

    @property
    def nbytes(self) -> int:
        """Its size in bytes, in Python integers: a stranger's shape may overflow any other."""
        return self.dtype.itemsize * math.prod(self.shape)


def shown(path: Path) -> str:
    """A path for a message: as it is, or quoted where it holds what no line should."""
    return str(path) if str(path).isprintable() else repr(str(path))


def check_split_name(name: str) -> str:
    """The name; ValueError unless it is a plain folder name."""
    if not _SPLIT.fullmatch(name) or name.startswith((CACHE_FILE, HEAD_FILE)):
        raise ValueError(f"split name {name[:80]!r}: expected letters, digits, '_', '.' and '-', such as train or val")
    return name


def shard_path(cache: Path, split: str, shard: int) -> Path:
    """The file of a shard; names are derived here and never read from a file."""
    return cache / check_split_name(split) / f"{shard:05d}.h5"


def specification_hash(specification: dict[str, Any]) -> str:
    """SHA-256 of the specification as canonical JSON."""
    text = json.dumps(specification, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def columns(rows: int, width: int, *, dtype: str, classes: int | None, id_bytes: int) -> dict[str, Column]:
    """The columns of a shard in file order.

    rows: n. width: D. dtype: of the features, float16 or float32. classes: K where logits are stored, else None.
    id_bytes: length of the longest sample id.
    """
    out = {"features": Column(np.dtype(dtype).newbyteorder("<"), (rows, width))}
    if classes is not None:
        out["logits"] = Column(np.dtype("<f4"), (rows, classes))
    out["labels"] = Column(np.dtype("<i8"), (rows,))
    out["index"] = Column(np.dtype("<i8"), (rows,))
    out["sample_id"] = Column(np.dtype(f"|S{max(1, id_bytes)}"), (rows,))
    out["status"] = Column(np.dtype("|u1"), (rows,))
    return out


def user_block_size(header: dict[str, Any]) -> int:
    """The smallest power of two of at least 4096 bytes that holds the header with any offsets."""
    slack = 20 * len(header["columns"])  # digits that the offsets may still gain
    needed = PREFIX.size + len(_dump(header)) + slack
    size = max(MIN_USER_BLOCK, 1 << (needed - 1).bit_length())
    if size > MAX_USER_BLOCK:
        raise ValueError(f"the shard header is {needed} bytes, at most {MAX_USER_BLOCK} fit: shorten the class names")
    return size


def pack_header(header: dict[str, Any]) -> bytes:
    """The bytes that go to the start of the user block."""
    text = _dump(header)
    return PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text


def header_end(start: bytes, path: Path) -> int:
    """How many bytes of the file hold its header, given its first MIN_USER_BLOCK; ValueError if it is no shard."""
    if start[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{path}: not a shard of a feature cache (its first bytes are {start[:8]!r})")
    if len(start) < MIN_USER_BLOCK:
        raise ValueError(f"{path}: the shard is cut short ({len(start)} bytes); {MEND}")
    _, length, _ = PREFIX.unpack_from(start)
    return min(PREFIX.size + int(length), MAX_USER_BLOCK)


def unpack_header(start: bytes, path: Path) -> dict[str, Any]:
    """The header of a shard as JSON, its checksum, format and version checked.

    start: the file's first bytes, as many as header_end said. ValueError in one line otherwise.
    """
    _, length, crc = PREFIX.unpack_from(start)
    text = start[PREFIX.size : PREFIX.size + length]
    if len(text) != length or zlib.crc32(text) != crc:
        raise ValueError(f"{path}: the shard's header is damaged (checksum differs); {MEND}")
    header = parse_json(text, path)
    check_format(header, SHARD_FORMAT, path)
    return header


def parse_json(text: bytes, path: Path) -> dict[str, Any]:
    """A JSON object; ValueError in one line for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({str(error)[:80]})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def check_format(document: dict[str, Any], expected: str, path: Path) -> None:
    """ValueError unless the document is of this format and of a version that this reader knows."""
    found, schema = document.get("format"), document.get("schema")
    if found != expected:
        raise ValueError(f"{path}: its format is {str(found)[:40]!r}, expected {expected!r}: not a feature cache")
    if not (isinstance(schema, list) and len(schema) == 2 and all(type(part) is int for part in schema)):
        raise ValueError(f"{path}: its schema is {str(schema)[:40]!r}, expected two integers such as [1, 0]")
    if schema[0] != SCHEMA[0]:
        hint = "update featurecache-rebalance" if schema[0] > SCHEMA[0] else "extract it again"
        raise ValueError(f"{path}: cache version {str(schema[0])[:20]}, this release reads version {SCHEMA[0]}: {hint}")


def parse_columns(header: dict[str, Any], size: int, path: Path) -> dict[str, Column]:
    """The columns of a shard, every number checked before anything is allocated or mapped.

    size: bytes of the file. ValueError in one line when a column is missing, of another type, or does not fit.
    """
    rows, entries = header.get("rows"), header.get("columns")
    if type(rows) is not int or not 0 < rows <= MAX_ROWS or not isinstance(entries, dict):
        raise ValueError(f"{path}: the shard's header gives {str(rows)[:40]} rows; expected 1 or more, and columns")
    if set(entries) - {"logits"} != set(REQUIRED):
        raise ValueError(
            f"{path}: the shard has columns {', '.join(sorted(entries))[:100]!r}; expected {', '.join(REQUIRED)}"
        )
    out = {name: _parse_column(name, entry, rows, path) for name, entry in entries.items()}
    spans = sorted((column.offset, column.offset + column.nbytes, name) for name, column in out.items())
    end, before = MIN_USER_BLOCK, "the header"
    for start, stop, name in spans:
        if start < end or stop > size:
            where = f"overlaps {before}" if start < end else f"ends at byte {stop} of a file of {size}"
            raise ValueError(f"{path}: column {name} {where}: the file is damaged or cut short; {MEND}")
        end, before = stop, name
    return out


def _parse_column(name: str, entry: Any, rows: int, path: Path) -> Column:
    shape, offset = (entry.get("shape"), entry.get("offset")) if isinstance(entry, dict) else (None, None)
    dtype = entry.get("dtype") if isinstance(entry, dict) else None
    if name == "sample_id":
        digits = dtype[2:] if isinstance(dtype, str) and dtype.startswith("|S") else ""
        known = digits.isascii() and digits.isdigit() and len(digits) < 6 and 0 < int(digits) <= MAX_ID
    else:
        known = dtype in DTYPES[name]
    wide = {"features": MAX_WIDTH, "logits": MAX_CLASSES}.get(name)
    fits = (
        isinstance(shape, list)
        and len(shape) == (2 if wide else 1)
        and all(type(number) is int for number in shape)
        and shape[0] == rows
        and (wide is None or 0 < shape[1] <= wide)
    )
    if not (known and fits and type(offset) is int and 0 <= offset < MAX_OFFSET and offset % ALIGNMENT == 0):
        raise ValueError(
            f"{path}: column {name} is given as {json.dumps(entry)[:100]}; expected a known dtype, "
            f"a shape of {rows} rows and an offset"
        )
    return Column(np.dtype(str(dtype)), tuple(shape or ()), offset)


def _dump(header: dict[str, Any]) -> bytes:
    return json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
