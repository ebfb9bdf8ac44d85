"""Heads that are kept beside a cache, so that what was made once is not made again.

A file is called after its method and a hash of all that the head was made from, so heads of other options or another
cache lie beside one another. The record of each holds what it was made from in full, and a digest of the rest.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..output import clean

if TYPE_CHECKING:
    import torch

    from featurecache import FeatureCache, Split
    from rebalance import LinearHead

STAMP = "kept"  # the entry of the record
DIGITS = 8  # of the hash in a file's name


@dataclass(frozen=True)
class KeptHeads:
    """A folder of heads for one cache. device: where they are put."""

    folder: Path
    cache: FeatureCache
    device: torch.device

    def find(self, name: str, origin: dict[str, Any]) -> tuple[Path, LinearHead | str | None]:
        """The file of a head, and the head where it is there and was made from the very same.

        name: of the head. origin: all it is made from, plain JSON values. A head that `keep` did not write keeps its
        file. One that it wrote and that is damaged is to be replaced: then, in place of the head, what is wrong.
        """
        text = hashlib.sha256(_canonical(origin)).hexdigest()[:DIGITS]
        names = itertools.chain([f"{name}-{text}"], (f"{name}-{text}-{i}" for i in itertools.count(2)))
        for path in (self.folder / f"{each}.safetensors" for each in names):
            if not os.path.lexists(path):
                break
            if not path.is_file():
                continue
            try:
                head = self._opened(path, origin)
            except NotOurs:
                continue
            except (ValueError, OSError, RuntimeError, MemoryError) as error:
                return path, reason(error)
            return path, head
        return path, None

    def _opened(self, path: Path, origin: dict[str, Any]) -> LinearHead:
        from rebalance import load_head

        from ..caches import open_head

        stamp = load_head(path).record.get(STAMP)
        if not (isinstance(stamp, dict) and stamp.keys() == {"origin", "digest", "notes"}):
            raise NotOurs
        head = open_head(path, self.cache, self.device)
        if _canonical(stamp["origin"]) != _canonical(origin):
            raise ValueError("it was made from something else than its name says")
        if stamp["digest"] != _digest(head):
            raise ValueError("it was changed since it was written")
        return head

    def keep(
        self, head: LinearHead, path: Path, origin: dict[str, Any], notes: Iterable[str]
    ) -> tuple[LinearHead, str | None]:
        """Write a head to the file that `find` named: the head whose record says all of it, and why it was not written.

        origin: as it was looked for. notes: what is to be said of the head again when it is reused.
        """
        stamp = {"origin": origin, "notes": list(notes)}
        stamped = head.with_record(**{STAMP: stamp})
        stamped = stamped.with_record(**{STAMP: {**stamp, "digest": _digest(stamped)}})
        try:
            stamped.save(path)
        except OSError as error:
            return stamped, reason(error)
        return stamped, None


class NotOurs(Exception):
    """A head that somebody else put there."""


def folder_for(cache: Path, asked: Path | None) -> Path:
    """The folder of heads, made where it is missing; ValueError where it cannot be.

    cache: its folder; photos.heads lies beside photos.cache. asked: another folder, or None.
    """
    named = cache if cache.name not in ("", "..") else Path(os.path.abspath(cache))
    folder = asked or named.with_name(f"{named.name.removesuffix('.cache')}.heads")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{folder}: no folder to keep heads in ({error.strerror}); expected one, or a new name in a folder that "
            "may be written to: name it with --heads"
        ) from error
    return folder


def content(split: Split) -> str:
    """A digest of everything in a split, from the checksums in its files."""
    found = hashlib.sha256()
    for shard in split.shards:
        found.update(shard.column("crc").tobytes())
    return found.hexdigest()


def reason(error: BaseException, limit: int = 300) -> str:
    """An error in a few words on one line; its type where the message alone may not say what went wrong."""
    import numpy as np

    text = clean(" ".join(str(error).split()), limit)
    kind = type(error).__name__.strip("_")
    refusal = isinstance(error, ValueError | OSError | ImportError) and not isinstance(error, np.linalg.LinAlgError)
    return text if refusal and text else f"{kind}: {text}" if text else kind


def _digest(head: LinearHead) -> str:
    """SHA-256 of a head's tensors and of its record but for the digest in it."""
    from rebalance.head_file import digest

    found = hashlib.sha256(digest(head.tensors()).encode())
    stamp = {key: value for key, value in head.record[STAMP].items() if key != "digest"}
    found.update(_canonical({**head.record, STAMP: stamp}))
    return found.hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
