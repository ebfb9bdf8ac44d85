"""The on-disk format, version 1. This docstring is its specification.

A cache is a folder::

    cache.json               what the cache is, and the plan of its shards
    head.safetensors         weight (K, D) and bias (K,): the classifier the features belong to; absent if there is none
    SPLIT/00000.h5 …         the shards of a split, in row order

``cache.json`` is UTF-8 JSON::

    {"format": "featurecache", "schema": [1, 0],
     "specification": {…},         everything that decides what the features are; equal for caches that may be mixed
     "hash": "…",                  SHA-256 of the specification as canonical JSON (sorted keys, no spaces)
     "classes": K, "class_names": ["…", …] or null,
     "splits": {"train": {"rows": N, "views": 1, "batch_size": B, "bounds": [0, …, N], "seen": true,
                          "data": "…" or null, "made_with": {…} or null}, …}}

Shard i of a split holds the rows ``bounds[i] .. bounds[i+1] - 1``. A file that the plan names and that exists is
complete, for it is renamed into place when whole; one that does not exist is still to be made. With k ``views`` of
every image N is images × k, and row r is view r div (N / k) of image r mod (N / k). ``seen`` says whether the backbone
was trained on these rows (null: not known), ``data`` is a digest of the ids and labels they came from, ``made_with``
what the last bits depend on: device, threads, seed, versions.

A shard is an ordinary HDF5 file (superblock 2) of contiguous, unfiltered root datasets without attributes. All but the
last have the shard's n rows as their first dimension:

    features   (n, D)  <f2 or <f4      the input of the classifier layer
    logits     (n, K)  <f4             its output; absent where the extraction was told so
    labels     (n,)    <i8             column indices of the logits; -1 = unlabelled
    index      (n,)    <i8             the row's place in its split
    sample_id  (n,)    |S              UTF-8, padded with zero bytes to one width
    status     (n,)    |u1             0 = fine, 1 = the sample could not be read (label -1, zeros)
    view       (n,)    <i4             which view of the image; present where there is more than one
    crc        (b, c)  <u4             CRC32 of every block of B rows (the last may be shorter) of the c columns above

Before the HDF5 superblock lies a user block, the smallest power of two of at least 4096 bytes that would hold the
header with the largest numbers for offsets, size and structure:

    byte 0   8 bytes   magic, 46 43 53 48 41 52 44 0A ("FCSHARD" and a line feed)
    byte 8   uint32    little-endian length L of the header
    byte 12  uint32    little-endian CRC32 of the header
    byte 16  L bytes   the header, UTF-8 JSON; then zeros

    {"format": "featurecache.shard", "schema": [1, 0], "split": "train", "shard": 0, "rows": n, "block": B,
     "size": bytes of the file, "structure": CRC32 of what lies behind the user block and in no column,
     "columns": {"features": {"dtype": "<f2", "shape": [n, D], "offset": 8192}, …},
     "cache": {…}}            what cache.json says, with this split only: any shard can rebuild it. Where neither a
                              head nor logits nor names say K, it is the largest label met when the shard was made

Offsets count from the start of the file and are multiples of 64. The reader parses this header, checks it, and maps
the columns; it makes no HDF5 call, because a file somebody else made can hang or crash that library. Nothing in a
shard depends on the time, the process or the path. A reader refuses a newer first number of the schema; a newer
second number may add entries to the JSON objects, which a reader passes over, and never columns.

While a shard is made, four files lie beside its place, and none of them is ever read as a shard:

    00000.h5.new       being laid out
    00000.h5.part      the shard at its full size, with the blocks that are written so far
    00000.h5.journal   which blocks are written; see featurecache.shards.journal
    00000.h5.lock      who writes it; see featurecache.shards.lock

``cache.json`` and ``head.safetensors`` are made as ``….part`` and guarded by ``cache.json.lock``, a split that is
written at once by ``SPLIT.lock``. No split is called like any of these.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = (1, 0)
CACHE_FORMAT, SHARD_FORMAT = "featurecache", "featurecache.shard"
USUAL_SPLITS = ("train", "val", "test")  # in this order
CACHE_FILE, HEAD_FILE = "cache.json", "head.safetensors"

MIN_USER_BLOCK, MAX_USER_BLOCK = 4096, 2**26
ALIGNMENT = 64

MEND = "delete this file and run the same extraction again"

MAX_OFFSET = 2**63
MAX_DEPTH = 32  # of lists and objects in one another
MAX_BRACKETS = 2**21  # in a document; class names may hold some
MAX_ROWS, MAX_WIDTH, MAX_CLASSES, MAX_ID = 2**40, 2**20, 10**6, 4096
REQUIRED = ("features", "labels", "index", "sample_id", "status", "crc")
OPTIONAL = ("logits", "view")
DTYPES = {
    "features": ("<f2", "<f4"),
    "logits": ("<f4",),
    "labels": ("<i8",),
    "index": ("<i8",),
    "status": ("|u1",),
    "view": ("<i4",),
    "crc": ("<u4",),
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


def shown(path: Path | str) -> str:
    """A path for a message: as it is, or quoted where it holds what no line should."""
    return str(path) if str(path).isprintable() else repr(str(path))


def check_split_name(name: str) -> str:
    """The name; ValueError unless it is a plain folder name."""
    if not _SPLIT.fullmatch(name) or name.startswith((CACHE_FILE, HEAD_FILE)) or name.endswith((".lock", ".part")):
        raise ValueError(f"split name {name[:80]!r}: expected letters, digits, '_', '.' and '-', such as train or val")
    return name


def shard_path(cache: Path, split: str, shard: int) -> Path:
    """The file of a shard; names are derived here and never read from a file."""
    return cache / check_split_name(split) / f"{shard:05d}.h5"


def specification_hash(specification: dict[str, Any]) -> str:
    """SHA-256 of the specification as canonical JSON."""
    text = json.dumps(specification, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def columns(
    rows: int, width: int, *, dtype: str, classes: int | None, id_bytes: int, views: int = 1, block: int
) -> dict[str, Column]:
    """The columns of a shard in file order.

    rows: n. width: D. dtype: of the features, float16 or float32. classes: K where logits are stored, else None.
    id_bytes: length of the longest sample id. views: of every image. block: rows that share a checksum.
    """
    out = {"features": Column(np.dtype(dtype).newbyteorder("<"), (rows, width))}
    if classes is not None:
        out["logits"] = Column(np.dtype("<f4"), (rows, classes))
    out["labels"] = Column(np.dtype("<i8"), (rows,))
    out["index"] = Column(np.dtype("<i8"), (rows,))
    out["sample_id"] = Column(np.dtype(f"|S{max(1, id_bytes)}"), (rows,))
    out["status"] = Column(np.dtype("|u1"), (rows,))
    if views > 1:
        out["view"] = Column(np.dtype("<i4"), (rows,))
    out["crc"] = Column(np.dtype("<u4"), (-(-rows // block), len(out)))
    return out


def parse_json(text: bytes, path: Path) -> dict[str, Any]:
    """A JSON object that can be written again as it is; ValueError in one line for anything else.

    text: UTF-8. Neither NaN nor infinity, no key twice in an object, no text that UTF-8 cannot hold, nothing nested
    deeper than 32: what stands in a file means the same to every reader, and no later step fails on it.
    """
    try:
        if text.count(b"[") + text.count(b"{") > MAX_BRACKETS:  # a byte of text may become a hundred of memory
            raise ValueError(f"more than {MAX_BRACKETS} brackets")
        value = json.loads(text.decode(), object_pairs_hook=_object)
        if _depth_exceeds(value, MAX_DEPTH):
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({str(error)[:80]})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


def _depth_exceeds(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        inner = [entry.values() if isinstance(entry, dict) else entry for entry in level if type(entry) in (dict, list)]
        level = [entry for each in inner for entry in each]
    return bool(level)


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
