"""What a disk may hold after a power cut, made from a recording of what was done to it.

What was flushed is there. Of all else any part may be: every write by pages or sectors, in any order, left out or
turned into garbage; of the names of a folder the first few changes, or any of them. A rename is there or it is not.
Two things are taken for granted, as everywhere: bytes of a sector that nobody writes to stay what they are, and a disk
that says it has flushed has done so.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .disks import PAGE, SECTOR
from .recording import ROOT, Change, Committed, Event, Flush, Link, Recording, Resize, Returned, Unlink, Write


@dataclass
class Chance:
    """How one power cut treats what was not flushed.

    keep, garble: the share of it that is there, and that is garbage. piece: bytes that share a fate. in_order: names
    are changed in their order, up to some change.
    """

    draws: random.Random
    keep: float
    garble: float
    piece: int
    in_order: bool

    @classmethod
    def drawn(cls, draws: random.Random) -> Chance:
        """Any of them."""
        return cls(
            draws,
            draws.choice((0.0, 0.1, 0.5, 0.9, 1.0)),
            draws.choice((0.0, 0.3, 1.0)),
            draws.choice((PAGE, SECTOR)),
            draws.random() < 0.5,
        )

    def bytes(self, changes: Sequence[Write | Resize]) -> Iterator[Write | Resize]:
        """What is left of changes to a file."""
        for change in changes:
            for piece in _pieces(change, self.piece):
                kept = self.draws.random() < self.keep
                if kept:
                    yield piece
                elif isinstance(piece, Write) and self.draws.random() < self.garble:
                    yield replace(piece, data=self.draws.randbytes(len(piece.data)))

    def names(self, changes: Sequence[Link | Unlink]) -> Sequence[Link | Unlink]:
        """What is left of changes to a folder."""
        if self.in_order:
            return changes[: self.draws.randint(0, len(changes))]
        return [change for change in changes if self.draws.random() < self.keep]


@dataclass
class Image:
    """The disk. files, folders: what is on it. pending: changes since the last flush, by node."""

    files: dict[int, bytearray]
    folders: dict[int, dict[str, int]]
    pending: dict[int, list[Change]] = field(default_factory=dict)
    committed: dict[str, dict[int, tuple[int, ...]]] = field(default_factory=dict)
    returned: bool = False

    def take(self, event: Event, chance: Chance) -> None:
        """One more event."""
        match event:
            case Write() | Resize():
                self.pending.setdefault(event.node, []).append(event)
            case Link() | Unlink():
                self.pending.setdefault(event.folder, []).append(event)
            case Flush(node, failed):
                changes = self.pending.pop(node, [])
                self.apply(self._left(changes, chance) if failed else changes)
            case Committed(shard, blocks):
                self.committed.setdefault(shard, {}).update(blocks)
            case Returned():
                self.returned = True

    def cut(self, chance: Chance) -> None:
        """The power is gone."""
        for node in list(self.pending):
            self.apply(self._left(self.pending.pop(node), chance))

    def _left(self, changes: list[Change], chance: Chance) -> list[Change]:
        content = [change for change in changes if isinstance(change, Write | Resize)]
        return [*chance.bytes(content), *chance.names([c for c in changes if isinstance(c, Link | Unlink)])]

    def apply(self, changes: Sequence[Change]) -> None:
        """Change what is on the disk."""
        for change in changes:
            match change:
                case Write(node, offset, data):
                    file = self.files.setdefault(node, bytearray())
                    _grow(file, offset)
                    file[offset : offset + len(data)] = data
                case Resize(node, size, grow):
                    file = self.files.setdefault(node, bytearray())
                    _grow(file, size)
                    if not grow:
                        del file[size:]
                case Link(folder, name, node, old):
                    names = self.folders[folder]
                    names[name] = node
                    names.pop(old or "", None)
                case Unlink(folder, name):
                    self.folders[folder].pop(name, None)

    def write_to(self, root: Path, node: int = ROOT) -> None:
        """Make the files under an empty folder."""
        for name, inner in self.folders[node].items():
            if inner in self.folders:
                (root / name).mkdir()
                self.write_to(root / name, inner)
            else:
                (root / name).write_bytes(self.files.get(inner, b""))


def after_power_cut(recording: Recording, at: int, draws: random.Random) -> Image:
    """The disk when the power went after `at` events."""
    chance = Chance.drawn(draws)
    image = _begun(recording)
    for event in recording.events[:at]:
        image.take(event, chance)
    image.cut(chance)
    return image


def unharmed(recording: Recording) -> Image:
    """The disk after all events, with everything on it: what a folder must look like that was recorded faithfully."""
    image = _begun(recording)
    everything = Chance(random.Random(0), keep=1.0, garble=0.0, piece=PAGE, in_order=False)
    for event in recording.events:
        image.take(event, everything)
    image.cut(everything)
    return image


def _begun(recording: Recording) -> Image:
    return Image(
        {node: bytearray(content) for node, content in recording.files.items()},
        {node: dict(recording.folders.get(node, {})) for node in {*recording.folders, *recording.made}},
    )


def _pieces(change: Write | Resize, size: int) -> Iterator[Write | Resize]:
    if isinstance(change, Resize):
        yield change
        return
    start, stop = change.offset, change.offset + len(change.data)
    while start < stop:
        end = min(stop, (start // size + 1) * size)
        yield Write(change.node, start, change.data[start - change.offset : end - change.offset])
        start = end


def _grow(file: bytearray, size: int) -> None:
    file.extend(bytes(max(0, size - len(file))))
