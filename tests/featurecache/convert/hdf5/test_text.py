"""Sample ids as text."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.convert.hdf5 import text as reading
from featurecache.convert.hdf5.rows import Stored
from featurecache.convert.hdf5.text import REFERENCE, FixedText, HeapText

TEXTS = ["a", "bild-ä.png", "", "x" * 17]
BASE = 64


def collection(texts: list[str], size: int = 4096) -> bytes:
    """Texts in a collection, numbered from 1."""
    objects = b""
    for number, text in enumerate(texts, 1):
        data = text.encode()
        objects += struct.pack("<HHIQ", number, 1, 0, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")
    return (struct.pack("<4sB3xQ", b"GCOL", 1, size) + objects).ljust(size, b"\0")


def heap_text(path: Path, references: list[tuple[int, int, int]], heap: bytes) -> tuple[Any, HeapText]:
    """A file of a heap, then references to it. references: (length, address, number)."""
    data = bytes(BASE) + heap + np.array(references, REFERENCE).tobytes()
    path.write_bytes(data)
    file = path.open("rb")
    stored = Stored(file.fileno(), len(data), "ids", REFERENCE, (len(references),), offset=BASE + len(heap))
    return file, HeapText(stored, BASE)


GOOD = [(len(text.encode()), 0, number) for number, text in enumerate(TEXTS, 1)]


def test_texts_of_any_length(tmp_path: Path) -> None:
    file, text = heap_text(tmp_path / "x", GOOD, collection(TEXTS))
    with file:
        assert text(0, 4) == TEXTS
        assert text(1, 2) == TEXTS[1:2]


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ((5000, 0, 1), "5000 bytes"),
        ((1, 2**63, 1), "beyond the file"),
        ((1, 16, 1), "no text lies"),
        ((1, 0, 9), "not there"),
        ((2, 0, 1), "not there"),
        ((1, 4096 + 8, 1), "ids"),
    ],
)
def test_a_reference_that_leads_nowhere(tmp_path: Path, refused: Any, reference: Any, says: str) -> None:
    file, text = heap_text(tmp_path / "x", [*GOOD, reference], collection(TEXTS))
    with file, refused("'ids'", says):
        text(4, 5)


def test_collections_are_read_once_and_not_for_ever(tmp_path: Path, monkeypatch: Any, refused: Any) -> None:
    heap = collection(TEXTS) * 3
    turns = [(1, 4096 * (i % 3), 1) for i in range(300)]
    file, text = heap_text(tmp_path / "x", turns, heap)
    reads: list[int] = []
    real = reading.read_at
    monkeypatch.setattr(reading, "read_at", lambda *given: reads.append(given[2]) or real(*given))
    with file:
        assert text(0, 300) == ["a"] * 300
    assert len(reads) == 6  # a head and a body each
    monkeypatch.setattr(reading, "KEPT", 1)
    file, text = heap_text(tmp_path / "x", turns * 200, heap)
    with file, refused("again and again"):
        text(0, 60_000)


@given(st.binary(min_size=16, max_size=200), st.integers(0, 250), st.integers(0, 40), st.integers(0, 3))
def test_any_heap_is_read_or_refused(
    tmp_path_factory: Any, read_or_refused: Any, noise: bytes, place: int, length: int, number: int
) -> None:
    heap = bytearray(collection(TEXTS, 256))
    heap[place : place + len(noise)] = noise[: max(0, 256 - place)]
    file, text = heap_text(tmp_path_factory.mktemp("heap") / "x", [(length, 0, number)], bytes(heap))
    with file:
        read = read_or_refused(lambda: text(0, 1))
    assert read is None or (len(read) == 1 and len(read[0]) <= length)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [(0, ["a b", "a"]), (1, ["a b ", "a\0b"]), (2, ["a b", "a\0b"])],
    ids=["zero", "zeros", "spaces"],
)
def test_texts_of_one_width(tmp_path: Path, padding: int, expected: list[str]) -> None:
    values = np.array([b"a b ", b"a\0b"])
    (tmp_path / "x").write_bytes(values.tobytes())
    with (tmp_path / "x").open("rb") as file:
        stored = Stored(file.fileno(), values.nbytes, "ids", values.dtype, (2,), offset=0)
        read = FixedText(stored, padding)(0, 2)
    assert read == [expected[0] if padding != 0 else "a b ", expected[1]]
