"""Caches that lie about themselves consistently: cache.json, every header and every checksum agree.

What such a cache says of its values cannot be found out. But nothing impossible may come of it: no label beyond the
classes, no row out of its place, no other shape than is said.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

from mutating.caches import Files, Sound
from mutating.in_json import Draft
from mutating.sealing import Document, appended, nbytes, opened_up, sealed


class Told:
    """A cache taken apart. files: its bytes. document: what cache.json says. headers: by file name."""

    def __init__(self, rng: Random, sound: Sound) -> None:
        self.rng, self.sound, self.files = rng, sound, dict(sound.files)
        self.document, self.headers = opened_up(sound.files)
        self.split = rng.choice(sound.splits)
        self.shards = sorted(name for name in self.headers if name.startswith(f"{self.split}/"))
        self.name = rng.choice(self.shards)

    @property
    def plan(self) -> Document:
        """What is planned for the split."""
        return dict.__getitem__(self.document["splits"], self.split)

    @property
    def header(self) -> Document:
        """Of the shard that is lied about."""
        return self.headers[self.name]

    @property
    def columns(self) -> dict[str, Document]:
        """Its columns."""
        return dict.__getitem__(self.header, "columns")

    def each(self, names: Iterable[str]) -> Iterator[None]:
        """Lie about one shard after the other."""
        for self.name in names:
            yield

    def resized(self, rows: int) -> None:
        """Let the last shard have other rows, and as many checksums as that needs."""
        self.name = self.shards[-1]
        added = rows - self.header["rows"]
        self.header["rows"] = rows
        self.plan["rows"] += added
        self.plan["bounds"][-1] += added
        for name, column in self.columns.items():
            column["shape"][0] = -(-rows // self.header["block"]) if name == "crc" else rows

    def moved(self, name: str, values: bytes | None = None) -> None:
        """Look for a column behind the end of the file."""
        column = self.columns[name]
        data = self.files[self.name]
        values = data[column["offset"] :][: nbytes(column)] if values is None else values
        self.files[self.name] = appended(data, column, values)

    def stored(self, name: str, values: bytes) -> None:
        """Put bytes where a column lies."""
        start, data = self.columns[name]["offset"], self.files[self.name]
        self.files[self.name] = data[:start] + values + data[start + len(values) :]


def _other_rows(told: Told) -> None:
    rows = told.headers[told.shards[-1]]["rows"]
    told.resized(max(1, rows + told.rng.choice((-2, -1, -1, 1, 1, 2, 5))))
    if told.rng.random() < 0.5:
        for name in told.columns:
            told.moved(name, bytes(nbytes(told.columns[name])))


def _other_width(told: Told) -> None:
    change = told.rng.choice((-1, 1, -4, 3))
    width = max(1, told.document["specification"]["features"]["width"] + change)
    told.document["specification"]["features"]["width"] = width
    for _ in told.each(told.headers):
        told.columns["features"]["shape"][1] = width
        told.moved("features", bytes(nbytes(told.columns["features"])))


def _other_classes(told: Told) -> None:
    classes = max(1, told.document["classes"] + told.rng.choice((-2, -1, 1, 5, 999)))
    told.document["classes"] = classes
    names = told.document["class_names"]
    if names is not None:
        told.document["class_names"] = [*names, *map(str, range(classes))][:classes]
    for _ in told.each(told.headers):
        if "logits" in told.columns:
            told.columns["logits"]["shape"][1] = classes
            told.moved("logits", bytes(nbytes(told.columns["logits"])))


def _other_views(told: Told) -> None:
    for split, plan in told.document["splits"].items():
        plan["views"] = views = told.rng.choice((1, 2, 3, plan["rows"]))
        for _ in told.each([name for name in told.headers if name.startswith(f"{split}/")]):
            there = told.columns
            crc, rows = there.pop("crc"), told.header["rows"]
            there.pop("view", None)
            if views > 1:
                there["view"] = {"dtype": "<i4", "shape": [rows], "offset": 0}
                told.header["columns"]["crc"] = crc
                numbers = [row // max(1, plan["rows"] // views) for row in range(rows)]
                told.moved("view", struct.pack(f"<{rows}i", *numbers))
            there["crc"] = crc
            crc["shape"][1] = len(there) - 1
            told.moved("crc", bytes(nbytes(crc)))


def _other_blocks(told: Told) -> None:
    told.plan["batch_size"] = size = told.rng.choice((1, 2, 3, 5, 100, 2**40))
    for _ in told.each(told.shards):
        told.header["block"] = size
        told.columns["crc"]["shape"][0] = -(-told.header["rows"] // size)
        told.moved("crc", bytes(nbytes(told.columns["crc"])))


def _other_dtype(told: Told) -> None:
    there = told.document["specification"]["features"]
    there["dtype"] = told.rng.choice(("float16", "float32", "float64", "int16"))
    code = {"float16": "<f2", "float32": "<f4", "float64": "<f8", "int16": "<i2"}[there["dtype"]]
    for _ in told.each(told.headers):
        told.columns["features"]["dtype"] = code
        told.moved("features", bytes(nbytes(told.columns["features"])))


def _other_split(told: Told) -> None:
    new = told.rng.choice(("test", "train", "val", "TRAIN", "a" * 64, "cache.json", "..", "x.h5"))
    splits = told.document["splits"]
    splits[new] = splits[told.split] if told.rng.random() < 0.5 else splits.pop(told.split)
    for name in told.shards:
        renamed = f"{new}/{name.split('/')[1]}"
        told.headers[renamed] = {**told.headers[name], "split": new}
        told.files[renamed] = told.files[name]
    for name in set(told.headers):
        if name.split("/")[0] not in splits or ".." in name or "cache.json" in name:
            told.headers.pop(name)
            told.files.pop(name)


def _a_split_less(told: Told) -> None:
    told.document["splits"].pop(told.split)
    for name in told.shards:
        told.headers.pop(name)


def _other_order(told: Told) -> None:
    numbers = [told.headers[name]["shard"] for name in told.shards]
    files = [told.files[name] for name in told.shards]
    headers = [told.headers[name] for name in told.shards]
    for name, number, file, header in zip(told.shards, numbers, files[::-1], headers[::-1], strict=True):
        told.files[name], told.headers[name] = file, {**header, "shard": number}


def _other_values(told: Told) -> None:
    name = told.rng.choice([name for name in told.columns if name != "crc"])
    size = nbytes(told.columns[name])
    rows = told.header["rows"]
    choices = [told.rng.randbytes(size), bytes(size), b"\xff" * size, b"\x00\x7c" * (size // 2)]
    if told.columns[name]["dtype"] == "<i8":
        choices += [struct.pack(f"<{rows}q", *(told.rng.randrange(-2, 5) for _ in range(rows))) for _ in range(4)]
    told.stored(name, told.rng.choice(choices))


def _other_place(told: Told) -> None:
    column = told.columns[told.rng.choice(list(told.columns))]
    column["offset"] = told.rng.randrange(-64, len(told.files[told.name]) + 128) // 64 * 64


def _other_ids(told: Told) -> None:
    column = told.columns["sample_id"]
    column["dtype"] = told.rng.choice(("|S1", "|S7", "|S4096"))
    told.moved("sample_id", told.rng.randbytes(nbytes(column)))


def _other_words(told: Told) -> None:
    names = told.document["class_names"]
    options: list[tuple[str, Any]] = [
        ("class_names", None if names else [str(i) for i in range(told.document["classes"])]),
        ("class_names", names and names[::-1]),
        ("class_names", ["\x1b[31m\n\u202e" * 99] * told.document["classes"]),
        ("class_names", ["", *["\ud800"] * (told.document["classes"] - 1)]),
    ]
    key, value = told.rng.choice(options)
    told.document[key] = value


def _other_provenance(told: Told) -> None:
    nested: Any = 1
    for _ in range(told.rng.choice((10, 300, 850))):
        nested = [nested]
    told.plan["seen"] = told.rng.choice((True, False, None))
    told.plan["data"] = told.rng.choice((None, "", "x" * 70_000))
    told.plan["made_with"] = told.rng.choice((None, {}, {"a": nested}, {"threads": 10**3000, "versions": "x"}))
    if told.rng.random() < 0.3:
        told.document["specification"]["note"] = told.rng.choice((nested, "\ud800", float("inf"), {"": nested}))


def _other_head(told: Told) -> None:
    told.document["specification"]["head"] = told.rng.choice((None, "", 0, "0" * 64, ["x"]))
    if told.rng.random() < 0.5:
        told.document["specification"]["logits"] = told.rng.choice(("none", "float32", None, 5))


def _anything(told: Told) -> None:
    """A random change of any header or of cache.json, in which all the others join."""
    for _ in range(told.rng.choice((1, 1, 2))):
        if told.rng.random() < 0.5:
            draft = Draft(told.header)
            draft.document.pop("cache", None)
            draft.change(told.rng, told.header)
            told.headers[told.name] = draft.document
        else:
            draft = Draft(told.document)
            draft.change(told.rng, told.document)
            if isinstance(draft.document.get("splits"), dict):
                told.document = draft.document


LIES: tuple[Callable[[Told], None], ...] = (
    *(_other_rows, _other_width, _other_classes, _other_views, _other_blocks, _other_dtype, _other_split),
    *(_a_split_less, _other_order, _other_values, _other_values, _other_place, _other_place, _other_ids),
    *(_other_words, _other_provenance, _other_head, _anything, _anything, _anything),
)


def told(rng: Random, sound: Sound) -> tuple[str, Files]:
    """What is lied about, and the files."""
    lie = rng.choice(LIES)
    story = Told(rng, sound)
    lie(story)
    return lie.__name__[1:].replace("_", " "), sealed(story.files, story.document, story.headers)
