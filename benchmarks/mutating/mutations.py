"""One mutated cache out of a seed and a number."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from featurecache import layout
from mutating import in_bytes, lies
from mutating.caches import Files, Sound
from mutating.in_json import Draft, places
from mutating.sealing import checked_again, hashed_again, header_text, with_header

Odd = str  # what stands in a file's place: "folder", "pipe", "loop" or "nothing"


@dataclass(frozen=True)
class Mutated:
    """A cache that was changed.

    kind: of the sound one. family: of the change. what: was done. files: those that differ, by name.
    sealed: whether every checksum was made right: then what it says of its values may be believed.
    repaired: whether the checksums of all headers are right.
    """

    kind: int
    family: str
    what: str
    files: dict[str, bytes | Odd]
    sealed: bool
    repaired: bool


class _Change:
    """A change under way: the random numbers, the sound cache, another one's files, and the files as they are now."""

    def __init__(self, rng: Random, sound: Sound, other: Files) -> None:
        self.rng, self.other = rng, other
        self.files: dict[str, bytes | Odd] = dict(sound.files)
        self.shards = [name for name in sound.files if name.endswith(".h5")]
        self.shard = rng.choice(self.shards)

    def bytes_of(self, name: str) -> bytes:
        """A file as it is now."""
        data = self.files[name]
        return data if isinstance(data, bytes) else b""


def _raw_bytes(change: _Change) -> str:
    """Bytes of a shard, whose header's checksum stays what it was."""
    return _in_shard(change)


def _bytes_of_shard(change: _Change) -> str:
    """Bytes of a shard, most often of its header, whose checksum is then right again."""
    what = _in_shard(change)
    change.files[change.shard] = checked_again(change.bytes_of(change.shard))
    return what


def _in_shard(change: _Change) -> str:
    data = change.bytes_of(change.shard)
    end = len(data)
    parts = ((0, 16), (16, 900), (16, 900), (4096, end), (4096, end), (0, end))
    start, stop = change.rng.choice(parts)
    what, change.files[change.shard] = in_bytes.changed(change.rng, data, start, stop)
    return what


def _header(change: _Change) -> str:
    """The header as JSON, its checksum right."""
    data = change.bytes_of(change.shard)
    if (draft := _draft(header_text(data))) is None:
        return "nothing"
    what = _several(change.rng, draft, json.loads(header_text(change.other[change.shard])))
    change.files[change.shard] = with_header(data, draft.text(change.rng))
    return what


def _cache_json(change: _Change) -> str:
    """cache.json as JSON, the hash right in most."""
    if (draft := _draft(change.bytes_of(layout.CACHE_FILE))) is None:
        return "nothing"
    what = _several(change.rng, draft, json.loads(change.other[layout.CACHE_FILE]))
    if change.rng.random() < 0.8:
        hashed_again(draft.document)
    change.files[layout.CACHE_FILE] = draft.text(change.rng)
    return what


def _draft(text: bytes) -> Draft | None:
    """The document to be changed; None where an earlier change left none."""
    try:
        draft = Draft(json.loads(text))
        return draft if isinstance(draft.document, dict) and places(draft.document) else None
    except (ValueError, RecursionError):
        return None


def _several(rng: Random, draft: Draft, other: object) -> str:
    return ", ".join(draft.change(rng, other) for _ in range(rng.choice((1, 1, 1, 2, 3))))


def _bytes_of_cache_json(change: _Change) -> str:
    data = change.bytes_of(layout.CACHE_FILE)
    what, change.files[layout.CACHE_FILE] = in_bytes.changed(change.rng, data)
    return what


def _head(change: _Change) -> str:
    """The head: its bytes, or its header as JSON with the length right. Where there is none, bytes of a shard."""
    if layout.HEAD_FILE not in change.files:
        return _bytes_of_shard(change)
    data = change.bytes_of(layout.HEAD_FILE)
    length = int.from_bytes(data[:8], "little")
    if change.rng.random() < 0.5 or len(data) < 9:
        stop = change.rng.choice((8, 8 + length, len(data)))
        what, change.files[layout.HEAD_FILE] = in_bytes.changed(change.rng, data, 0, stop)
        return what
    if (draft := _draft(data[8 : 8 + length])) is None:
        return "nothing"
    what = _several(change.rng, draft, draft.document)
    text = draft.text(change.rng)
    change.files[layout.HEAD_FILE] = len(text).to_bytes(8, "little") + text + data[8 + length :]
    return what


def _exchanged_files(change: _Change) -> str:
    """A whole file of another cache, split, place or kind."""
    name, other = change.rng.choice(list(change.files)), change.rng.choice(list(change.files))
    how = change.rng.choice(("another cache's", "another file", "exchanged", "odd", "odd"))
    if how == "another cache's":
        change.files[name] = change.other[name]
    elif how == "another file":
        change.files[name] = change.files[other]
    elif how == "exchanged":
        change.files[name], change.files[other] = change.files[other], change.files[name]
    else:
        how = change.rng.choice(("folder", "pipe", "loop", "nothing"))
        change.files[name] = how
    return f"{name}: {how} ({other})"


FAMILIES: tuple[tuple[str, int, Callable[[_Change], str]], ...] = (
    ("bytes of a shard", 14, _raw_bytes),
    ("bytes of a shard, header repaired", 22, _bytes_of_shard),
    ("header as JSON, repaired", 25, _header),
    ("cache.json as JSON", 12, _cache_json),
    ("bytes of cache.json", 5, _bytes_of_cache_json),
    ("head", 5, _head),
    ("files exchanged", 5, _exchanged_files),
    ("all checksums repaired", 12, lambda change: ""),
)
NAMES = [name for name, _, _ in FAMILIES]
_WEIGHTS = [weight for _, weight, _ in FAMILIES]


def mutated(seed: int, number: int, caches: Sequence[tuple[Sound, Files]]) -> Mutated:
    """The mutated cache of a number; the same for the same seed."""
    rng = Random(f"{seed}:{number}")
    kind = number % len(caches)
    while True:  # until something was
        found = _mutated(rng, kind, *caches[kind])
        if found.files:
            return found


def _mutated(rng: Random, kind: int, sound: Sound, other: Files) -> Mutated:
    family, _, function = rng.choices(FAMILIES, _WEIGHTS)[0]
    if family == "all checksums repaired":
        what, files = lies.told(rng, sound)
        return Mutated(kind, family, what, dict(_difference(sound.files, files)), True, True)
    change = _Change(rng, sound, other)
    done = [function(change)]
    if rng.random() < 0.15:  # a second one on top
        done.append(rng.choice([each for *_, each in FAMILIES[:-1]])(change))
    if change.files == other:  # nothing is left of the first: it is another cache, and a sound one
        change.files = dict(sound.files)
    repaired = family != NAMES[0]
    return Mutated(kind, family, " and ".join(done), dict(_difference(sound.files, change.files)), False, repaired)


def _difference(before: Files, after: Files | dict[str, bytes | Odd]) -> dict[str, bytes | Odd]:
    gone: dict[str, bytes | Odd] = {name: "nothing" for name in before if name not in after}
    return gone | {name: data for name, data in after.items() if data != before.get(name)}
