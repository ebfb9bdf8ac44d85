"""Changes that know nothing of what the bytes mean."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

PAGES = (64, 512, 4096)


def _flip_bits(rng: Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_bytes(rng: Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    stop = min(len(data), start + rng.choice((1, 1, 2, 4, 8, 64)))
    fill = rng.choice((b"\0", b"\xff", b"\x7f", b"0", b"9", b'"', None))
    data[start:stop] = rng.randbytes(stop - start) if fill is None else fill * (stop - start)


def _pages(rng: Random, data: bytearray) -> tuple[slice, slice]:
    size = rng.choice(PAGES)
    one, two = (rng.randrange(-(-len(data) // size)) * size for _ in range(2))
    return slice(one, one + size), slice(two, two + size)


def _zero_page(rng: Random, data: bytearray) -> None:
    page, _ = _pages(rng, data)
    data[page] = bytes(len(data[page]))


def _copy_page(rng: Random, data: bytearray) -> None:
    one, two = _pages(rng, data)
    data[one] = data[two][: len(data[one])].ljust(len(data[one]), b"\0")


def _swap_pages(rng: Random, data: bytearray) -> None:
    one, two = _pages(rng, data)
    length = min(len(data[one]), len(data[two]))
    one, two = slice(one.start, one.start + length), slice(two.start, two.start + length)
    data[one], data[two] = data[two], data[one]


def _cut(rng: Random, data: bytearray) -> None:
    place = rng.choice((rng.randrange(len(data)), len(data) - 1, len(data) // 4096 * 4096, rng.randrange(64), 0))
    del data[place:]


def _extend(rng: Random, data: bytearray) -> None:
    length = rng.choice((1, 64, 4096, rng.randrange(1, 9000)))
    data += rng.choice((bytes(length), rng.randbytes(length), bytes(data[:length])))


def _insert(rng: Random, data: bytearray) -> None:
    place, length = rng.randrange(len(data)), rng.choice((1, 2, 8, 64, 512))
    data[place:place] = rng.choice((rng.randbytes(length), data[place : place + length], bytes(length)))


def _delete(rng: Random, data: bytearray) -> None:
    place = rng.randrange(len(data))
    del data[place : place + rng.choice((1, 2, 8, 64, 512))]


CHANGES: tuple[Callable[[Random, bytearray], None], ...] = (
    *(_flip_bits, _flip_bits, _flip_bits, _set_bytes, _set_bytes),
    *(_zero_page, _copy_page, _swap_pages, _cut, _extend, _insert, _delete),
)


def changed(rng: Random, data: bytes, start: int = 0, stop: int | None = None) -> tuple[str, bytes]:
    """What was done, and the bytes after it.

    start, stop: the part of them that is touched.
    """
    part = bytearray(data[start:stop])
    if not part:
        return "nothing", data
    change = rng.choice(CHANGES)
    change(rng, part)
    return change.__name__[1:].replace("_", " "), data[:start] + bytes(part) + (b"" if stop is None else data[stop:])
