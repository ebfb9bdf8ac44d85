"""HDF5's usual filters undone, each to exactly the length it must give.

The library's own ones trust what a file says: a chunk may inflate to any size, or to less than its place in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000  # the numbers under which HDF5 knows them
PIECE = 2**20  # bytes that are summed at once


def undo(data: bytes, filters: list[tuple[int, int]], length: int) -> bytes:
    """The values of a chunk, so many bytes.

    data: as stored. filters: (number, first parameter) of those applied, in the order of writing.
    ValueError where the bytes do not inflate to the length or do not agree with their checksum.
    """
    lengths = [length]  # before each filter; only the checksum adds to it
    for code, _ in filters:
        lengths.append(lengths[-1] + (4 if code == FLETCHER32 else 0))
    for (code, parameter), before in zip(reversed(filters), reversed(lengths[:-1]), strict=True):
        data = UNDO[code](data, before, parameter)
    if len(data) != length:
        raise ValueError(f"holds {len(data)} bytes; expected {length}")
    return data


def inflated(data: bytes, length: int, parameter: int = 0) -> bytes:
    """Undo deflate, never beyond the length."""
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(data, length + 1)
    except zlib.error as error:
        raise ValueError(f"does not inflate ({error})") from None
    if len(out) != length or not stream.eof:
        raise ValueError(f"inflates to {'more' if len(out) > length else 'fewer'} than its {length} bytes")
    return out


def unshuffled(data: bytes, length: int, parameter: int) -> bytes:
    """Undo shuffle: the first bytes of all values come first, then the second ones; what is left over stays behind."""
    whole = len(data) // parameter * parameter if parameter > 0 else 0
    if parameter <= 1 or not whole:
        return data
    values = np.frombuffer(data, np.uint8, whole).reshape(parameter, -1)
    return values.T.tobytes() + data[whole:]


def checked(data: bytes, length: int, parameter: int = 0) -> bytes:
    """The bytes before their Fletcher checksum; ValueError where the two do not agree."""
    body, end = data[:-4], int.from_bytes(data[-4:], "little")
    first = second = 0
    for at in range(0, len(body), PIECE):
        piece = body[at : at + PIECE]
        words = np.frombuffer(piece + b"\0" * (len(piece) % 2), ">u2").astype(np.uint64)
        # The second sum adds up the first one after every word: a piece's first word counts as often as it has words.
        weights = np.arange(len(words), 0, -1, dtype=np.uint64)
        second = (second + len(words) * first + int((words * weights).sum())) % 65535
        first = (first + int(words.sum())) % 65535
    if len(data) < 4 or (first, second) != ((end & 0xFFFF) % 65535, (end >> 16) % 65535):
        raise ValueError("does not agree with its checksum")
    return body


def unpacked(data: bytes, length: int, parameter: int = 0) -> bytes:
    """Undo LZF: runs of up to 32 bytes as they are, and copies of 3 to 264 bytes from up to 8 KiB before."""
    out, at = bytearray(), 0
    try:
        while at < len(data) and len(out) <= length:
            control, at = data[at], at + 1
            if control < 32:
                out += data[at : at + control + 1]
                at += control + 1
                continue
            count = control >> 5
            if count == 7:
                count, at = count + data[at], at + 1
            count, start, at = count + 2, len(out) - ((control & 31) << 8) - data[at] - 1, at + 1
            if start < 0:
                raise ValueError("refers to bytes before its beginning")
            while count > 0:  # a copy may overlap what it writes
                piece = out[start : start + count]
                out += piece
                count -= len(piece)
    except IndexError:
        raise ValueError("ends in the middle of a copy") from None
    if len(out) != length:
        raise ValueError(f"unpacks to {'more' if len(out) > length else 'fewer'} than {length} bytes")
    return bytes(out)


UNDO: dict[int, Callable[[bytes, int, int], bytes]] = {
    DEFLATE: inflated,
    SHUFFLE: unshuffled,
    FLETCHER32: checked,
    LZF: unpacked,
}
