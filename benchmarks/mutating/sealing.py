"""The checksums of a changed cache, made right again."""

from __future__ import annotations

import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any

from featurecache import layout
from featurecache.shards.header import MAGIC, PREFIX, Header, parse_header
from featurecache.shards.skeleton import gaps
from mutating.caches import Files

Document = dict[str, Any]


def header_text(shard: bytes) -> bytes:
    """The JSON of a shard's header; nothing where the file is too short for one."""
    return b"" if len(shard) < PREFIX.size else shard[PREFIX.size : PREFIX.size + struct.unpack_from("<I", shard, 8)[0]]


def with_header(shard: bytes, text: bytes) -> bytes:
    """The shard with another header, its length and checksum right; one that is too long runs into the columns."""
    room = max(4096, PREFIX.size + len(header_text(shard)))
    start = PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text
    return start.ljust(room, b"\0") + shard[max(room, len(start)) :]


def checked_again(shard: bytes) -> bytes:
    """The shard with the checksum of whatever its header is now."""
    if len(shard) < PREFIX.size:
        return shard
    length = struct.unpack_from("<I", shard, 8)[0]
    crc = zlib.crc32(shard[PREFIX.size : PREFIX.size + length])
    return shard[:12] + struct.pack("<I", crc) + shard[PREFIX.size :]


def hashed_again(document: Document) -> Document:
    """What cache.json says, with the hash of whatever its specification is now."""
    specification = document.get("specification")
    if isinstance(specification, dict):
        document["hash"] = layout.specification_hash(specification)
    return document


def opened_up(files: Files) -> tuple[Document, dict[str, Document]]:
    """What cache.json says, and the header of every shard by its file's name."""
    headers = {name: json.loads(header_text(data)) for name, data in files.items() if name.endswith(".h5")}
    return json.loads(files[layout.CACHE_FILE]), headers


def sealed(files: Files, document: Document, headers: dict[str, Document]) -> Files:
    """The files with these documents and with every checksum right, as far as they say where there is one."""
    hashed_again(document)
    out = {**files, layout.CACHE_FILE: json.dumps(document, ensure_ascii=True).encode()}
    for name, header in headers.items():
        split = name.split("/")[0]
        header["cache"] = {**document, "splits": {split: document["splits"].get(split)}}
        out[name] = _sealed_shard(files[name], header, name)
    return out


def _sealed_shard(shard: bytes, header: Document, name: str) -> bytes:
    data = bytearray(_with_room(shard, header))
    header["size"] = len(data)
    try:
        parsed = parse_header(header, len(data), Path(name))
        table = parsed.columns["crc"].offset
        crcs = b"".join(struct.pack("<I", crc) for crc in _crcs(data, parsed))
        data[table : table + len(crcs)] = crcs
        header["structure"] = _structure(data, parsed)
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass  # it lies about the places themselves, or holds what cannot be written
    return with_header(bytes(data), _text(header))


def _text(header: Document) -> bytes:
    return json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode()


def _with_room(shard: bytes, header: Document) -> bytes:
    """The shard with its columns further back, where the header has grown."""
    there, needed = 4096, PREFIX.size + len(_text(header)) + 100
    if needed <= there:
        return shard
    room = 1 << (needed - 1).bit_length()
    for column in header["columns"].values() if isinstance(header.get("columns"), dict) else ():
        if isinstance(column, dict) and type(column.get("offset")) is int:
            column["offset"] += room - there
    return shard[:there] + bytes(room - there) + shard[there:]


def _crcs(data: bytearray, header: Header) -> list[int]:
    spans = [header.span(name, block) for block in range(header.blocks) for name in header.data]
    return [zlib.crc32(data[start : start + length]) for start, length in spans]


def _structure(data: bytearray, header: Header) -> int:
    crc = 0
    for start, length in gaps(header.columns, header.user_block, header.size):
        crc = zlib.crc32(data[start : start + length], crc)
    return crc


def appended(data: bytes, column: Document, values: bytes) -> bytes:
    """The shard with a column's values behind its end, where its header is told to look."""
    start = -(-len(data) // layout.ALIGNMENT) * layout.ALIGNMENT
    column["offset"] = start
    return data.ljust(start, b"\0") + values


def nbytes(column: Document) -> int:
    """Bytes of a column as a header gives it."""
    return int(column["dtype"][2:]) * math.prod(column["shape"])
