"""A corpus of HDF5 files that are hostile, broken or merely odd.

A plain script, for two use it that may not import each other: the tests beside it and benchmarks/hostile.py both take
its names with runpy.
"""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

FEATURES = np.arange(24, dtype=np.float32).reshape(6, 4)
LABELS = np.array([0, 2, 1, -1, 1, 0])


def made(change: Callable[[h5py.File, Path], Any], features: bool = True, labels: bool = True, **opened: Any) -> Any:
    """A file with FEATURES and LABELS, unless told otherwise, and a change."""

    def build(path: Path, canary: Path) -> None:
        with h5py.File(path, "w", **opened) as file:
            if features:
                file["features"] = FEATURES
            if labels:
                file["labels"] = LABELS
            change(file, canary)

    return build


def patched(build: Callable[[Path, Path], Any], change: Callable[[bytearray], Any]) -> Any:
    """The file of another case with some of its bytes changed."""

    def both(path: Path, canary: Path) -> None:
        build(path, canary)
        data = bytearray(path.read_bytes())
        path.write_bytes(change(data) or data)

    return both


def column(name: str, **given: Any) -> Any:
    """A file with one column that is made with these arguments of create_dataset."""
    return made(lambda file, _: file.create_dataset(name, **given), name != "features", name != "labels")


features, labels, ids = (partial(column, name) for name in ("features", "labels", "sample_id"))


def low_level(kind: Any, shape: tuple[int, ...] = (6, 4), plan: Any = None) -> Any:
    """A file whose features are of an HDF5 type that h5py does not write by itself."""

    def change(file: h5py.File, _: Path) -> None:
        h5d.create(file.id, b"features", kind, h5s.create_simple(shape), plan)

    return made(change, features=False, labels=False)


def virtual(rows: int | None) -> Any:
    """Features that lie in the canary. rows: None takes as many files as there are."""

    def change(file: h5py.File, canary: Path) -> None:
        layout = h5py.VirtualLayout((6, 4), "f4", maxshape=(rows, 4))
        layout[:] = h5py.VirtualSource(str(canary), "features", (6, 4))
        file.create_virtual_dataset("features", layout)

    return made(change, features=False)


def chunked(shape: tuple[int, int], chunk: tuple[int, int], data: bytes, count: int, code: int = 1) -> Any:
    """Features in chunks whose stored bytes are given. count: chunks that are there. code: of the filter."""

    def change(file: h5py.File, _: Path) -> None:
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_chunk(chunk)
        plan.set_filter(code, 1, (4,))
        item = h5d.create(file.id, b"features", h5t.IEEE_F32LE, h5s.create_simple(shape), plan)
        for i in range(count):
            item.write_direct_chunk((i * chunk[0], 0), data)

    return made(change, features=False, labels=False)


def nested(levels: int) -> Any:
    """Groups in groups, features in the last."""

    def change(file: h5py.File, _: Path) -> None:
        group = file
        for _level in range(levels):
            group = group.create_group("g")
        group["features"] = FEATURES

    return made(change, features=False, libver="latest")


def groups(count: int) -> Any:
    """Groups side by side, before the features."""

    def change(file: h5py.File, _: Path) -> None:
        for i in range(count):
            h5py.h5g.create(file.id, b"a%d" % i)
        file["features"] = FEATURES

    return made(change, features=False, libver="latest")


def cycle(file: h5py.File, _: Path) -> None:
    """Groups that hold each other and the root, by hard links."""
    group = file.create_group("a/b")
    group["up"], group["root"], file["a/again"] = file["a"], file["/"], group


def open_for_write(path: Path, canary: Path) -> None:
    """A file as it lies on the disk while a process writes to it for others to read."""
    with h5py.File(path, "w", libver="latest") as file:
        file["features"], file["labels"] = FEATURES, LABELS
        file.swmr_mode = True
        file.flush()
        data = path.read_bytes()
    path.write_bytes(data)


def first(data: bytearray, mark: bytes, value: bytes, after: int = 0) -> None:
    """Write a value after a mark."""
    at = data.index(mark) + after
    data[at : at + len(value)] = value


def tree_of_itself(data: bytearray) -> None:
    """The chunk index is its own child."""
    at = data.rindex(b"TREE\x01")
    data[at + 5] = 1  # a level above the leaves
    key = 8 + 8 * 3
    struct.pack_into("<Q", data, at + 24 + key, at)


def free_list_of_itself(data: bytearray) -> None:
    """The free list of the heap of names has no end."""
    at = data.index(b"HEAP")
    free, place = struct.unpack_from("<QQ", data, at + 16)
    struct.pack_into("<QQ", data, place + free, free, 16)


def far_chunk(data: bytearray) -> None:
    """The first chunk begins one byte before the end of the file."""
    at = data.index(FEATURES[:2].tobytes())
    first(data, struct.pack("<Q", at), struct.pack("<Q", len(data) - 1))


def compact(path: Path, canary: Path) -> None:
    """Features inside their description."""
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_layout(h5d.COMPACT)
    low_level(h5t.IEEE_F32LE, plan=plan)(path, canary)
    with h5py.File(path, "r+") as file:
        file["features"][:], file["labels"] = FEATURES, LABELS


def external(whole: bool) -> Any:
    """Features whose bytes lie in the canary. whole: named from the root of the disk."""

    def change(file: h5py.File, canary: Path) -> None:
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_external(os.fsencode(canary if whole else canary.name), 0, FEATURES.nbytes)
        h5d.create(file.id, b"features", h5t.IEEE_F32LE, h5s.create_simple((6, 4)), plan)

    return made(change, features=False)


def link(name: str, kind: Any) -> Any:
    """One of the two columns is a link. kind: canary -> the link."""

    def change(file: h5py.File, canary: Path) -> None:
        file["data"] = FEATURES
        file[name] = kind(canary)

    return made(change, features=name != "features", labels=name != "labels")


def away(canary: Path) -> h5py.ExternalLink:
    """A link to the canary."""
    return h5py.ExternalLink(str(canary), "features")


def heap(value: bytes, after: int = 0) -> Any:
    """Sample ids whose bytes lie in a collection of texts with another head. after: bytes from its beginning."""
    return patched(ids(data=IDS, dtype=TEXT), lambda data: first(data, b"GCOL", value, after))


def same(file: h5py.File, canary: Path) -> None:
    """No change."""


TEXT = h5py.string_dtype()
IDS = [f"bild-ä/{i}.png" for i in range(6)]
ZEROS = zlib.compress(bytes(2**24), 9)
TWO = {"data": FEATURES, "chunks": (2, 4)}
GOOD, OLD = made(same), made(same, libver=("earliest", "v108"))
NAN, INF = (np.where(FEATURES == 13, odd, FEATURES) for odd in (np.nan, np.inf))
EARLY, SUMMED = features(**TWO), features(**TWO, fletcher32=True)

# What it is called -> how it is made, and what the refusal has to say; without such words it is odd and harmless, and
# holds FEATURES and LABELS.
CASES: dict[str, tuple[Any, ...]] = {
    "superblock 0": (OLD,),
    "superblock 2": (made(same, libver=("v108", "v108")),),
    "superblock 3": (made(same, libver="latest"),),
    "big-endian": (features(data=FEATURES.astype(">f8")),),
    "labels as floats": (labels(data=LABELS.astype("f4")),),
    "labels as bytes": (labels(data=LABELS.astype("i1")),),
    "features as bytes": (features(data=FEATURES.astype("u1")),),
    "every filter": (features(**TWO, compression="gzip", shuffle=True, fletcher32=True),),
    "lzf": (features(data=FEATURES, chunks=(4, 3), compression="lzf", shuffle=True),),
    "compact": (compact,),
    "a program before the file": (patched(GOOD, lambda data: b"<html><script>".ljust(512) + data),),
    "a user block": (made(same, userblock_size=1024),),
    "ids of any length": (ids(data=IDS, dtype=TEXT),),
    "ids of one width": (ids(data=np.array([name.encode() for name in IDS])),),
    "groups that hold each other": (made(cycle),),
    "a soft link to itself": (made(lambda file, _: file.__setitem__("s", h5py.SoftLink("/s"))),),
    "another file beside": (made(lambda file, at: file.__setitem__("e", h5py.ExternalLink(str(at), "/"))),),
    "attributes with paths": (made(lambda file, at: file["features"].attrs.update(path=str(at), at=file.ref)),),
    "features linked to another file": (link("features", away), "features", "a link to another file"),
    "labels linked to another file": (link("labels", away), "labels", "a link to another file"),
    "a soft link": (link("features", lambda _: h5py.SoftLink("/data")), "features", "a soft link"),
    "a soft link to the link": (link("features", lambda _: h5py.SoftLink("/features")), "soft link"),
    "a virtual dataset": (virtual(6), "features", "virtual"),
    "a virtual dataset of any length": (virtual(None), "features", "virtual"),
    "external storage": (external(True), "features", "external storage"),
    "external storage by a relative path": (external(False), "features", "external storage"),
    "10^15 rows": (chunked((10**15, 2048), (1024, 2048), b"", 0), "976562500000 chunks"),
    "2^40 rows of nothing": (chunked((2**40, 1), (2**20, 1), b"", 0), "expected 1 to"),
    "4 GiB in chunks that are not there": (chunked((2**19, 2048), (1024, 2048), b"", 0), "not filled"),
    "4 GiB that were never written": (low_level(h5t.IEEE_F32LE, (2**19, 2048)), "not filled"),
    "never written": (features(shape=(6, 4), dtype="f4"), "never filled"),
    "too wide": (features(shape=(6, 2**21), dtype="f4"), "features", "at most 1048576 columns"),
    "1 GiB from 1 MiB": (chunked((2**22, 64), (2**16, 64), ZEROS, 64), "expand to 1073741824 bytes"),
    "a chunk that holds more": (chunked((8, 64), (8, 64), zlib.compress(bytes(2**21)), 1), "more than its 2048"),
    "a chunk that holds far more": (chunked((8, 64), (8, 64), ZEROS, 1), "chunk of", "expected at most"),
    "a chunk that holds less": (chunked((8, 64), (8, 64), zlib.compress(b"1234"), 1), "fewer than its 2048"),
    "a chunk that is no deflate": (chunked((8, 64), (8, 64), b"1234" * 10, 1), "does not inflate"),
    "a chunk that is no lzf": (chunked((8, 64), (8, 64), b"\xff" * 40, 1, 32000), "chunk 0"),
    "chunks that are not there": (chunked((32, 64), (8, 64), ZEROS[:1], 3), "lacks 1 of its 4 chunks"),
    "a chunk of 128 MiB": (features(shape=(6, 4), chunks=(2**23, 4), maxshape=(None, 4), dtype="f4"), "chunk"),
    "a chunk behind the end": (patched(EARLY, far_chunk), "beyond the end"),
    "a chunk index that is its own child": (patched(EARLY, tree_of_itself), "HDF5"),
    "a heap whose free list has no end": (patched(OLD, free_list_of_itself), "HDF5"),
    "a wrong checksum": (patched(SUMMED, lambda data: first(data, FEATURES[:2].tobytes(), b"\7")), "checksum"),
    "an unknown filter": (chunked((8, 64), (8, 64), b"1234", 1, 32015), "filter 32015"),
    "a lossy filter": (features(data=FEATURES.astype("i4"), chunks=(2, 4), scaleoffset=0), "filter 6"),
    "features as text": (features(data=np.full((6, 4), b"1.5")), "features", "expected"),
    "features as text of any length": (features(data=np.full((6, 4), "1", object), dtype=TEXT), "features"),
    "features of any length": (features(shape=(6,), dtype=h5py.vlen_dtype("f4")), "vlen"),
    "compounds": (features(shape=(6,), dtype=[("a", "f4"), ("b", "i8")]), "compound"),
    "complex numbers": (features(data=FEATURES + 1j), "features", "not a plain number"),
    "long doubles": (low_level(h5t.IEEE_F128LE), "float of 16 bytes"),
    "bit fields": (low_level(h5t.STD_B32LE), "bitfield"),
    "arrays in a dataset": (low_level(h5t.array_create(h5t.IEEE_F32LE, (4,)), (6,)), "array"),
    "pickles as opaque bytes": (features(data=np.full(6, np.void(pickle.dumps(FEATURES, 0)))), "opaque"),
    "references": (features(shape=(6, 4), dtype=h5py.ref_dtype), "reference"),
    "references to regions": (features(shape=(6, 4), dtype=h5py.regionref_dtype), "reference"),
    "labels as an enumeration": (labels(data=LABELS > 0), "labels", "enum"),
    "a single value": (features(data=1.0), "features", "single value"),
    "no values at all": (features(data=h5py.Empty("f4")), "features", "empty"),
    "zero rows": (features(data=FEATURES[:0]), "features", "empty"),
    "fewer labels": (labels(data=LABELS[:5]), "labels", "(5,)", "(6,)"),
    "NaN": (features(data=NAN), "nan"),
    "infinity": (features(data=INF), "inf"),
    "label 10^9": (labels(data=LABELS * 0 + 10**9), "1000000000"),
    "label 2^64 - 1": (labels(data=np.full(6, 2**64 - 1, "u8")), "18446744073709551615"),
    "label -2": (labels(data=LABELS - 1), "-2"),
    "label 1/2": (labels(data=LABELS / 2), "0.5"),
    "an id of 5000 bytes": (ids(data=["x" * 5000] * 6, dtype=TEXT), "5000", "4096"),
    "ids 5000 bytes wide": (ids(data=np.array([b"x" * 5000] * 6)), "5000", "4096"),
    "ids that lead nowhere": (heap(b"LOCG"), "no text"),
    "ids whose heap has no end": (heap(struct.pack("<Q", 2**63), 8), "sample_id"),
    "ids whose objects have no length": (heap(struct.pack("<Q", 0), 24), "sample_id"),
    "two columns of features": (made(lambda file, _: file.__setitem__("embeddings", FEATURES)), "--map"),
    "features in one dimension": (features(data=FEATURES[0]), "features"),
    "names of 60,000 bytes": (made(lambda file, _: file.move("features", "f" * 60_000)), "--map"),
    "names that move the cursor": (made(lambda file, _: file.move("features", "\x1b[2J\n\u202e")), "--map"),
    "20,000 levels": (nested(20_000), "--map", "8 levels"),
    "50,000 groups": (groups(50_000), "--map", "1000"),
    "written at this moment": (open_for_write,),
    "a signature that is none": (patched(GOOD, lambda data: data[:8].ljust(512, b"\0") + data), "HDF5", "refused"),
    "cut in the middle": (patched(GOOD, lambda data: data[: len(data) // 2]), "truncated"),
    "cut after the signature": (patched(GOOD, lambda data: data[:8]), "HDF5"),
    "an empty file": (lambda path, _: path.touch(), "not an HDF5 file"),
    "a pipe": (lambda path, _: os.mkfifo(path), "not a regular file"),
    "a folder": (lambda path, _: path.mkdir(), "none of the known formats"),
}
