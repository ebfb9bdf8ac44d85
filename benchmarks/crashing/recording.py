"""Everything that happened to a disk, in an order and in terms that a power cut understands: nodes, names, flushes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

ROOT = 0  # the node of the folder that is there from the beginning


@dataclass(frozen=True)
class Write:
    """Bytes were written into a file."""

    node: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Resize:
    """A file was given a size; `grow`: if it was not that long."""

    node: int
    size: int
    grow: bool


@dataclass(frozen=True)
class Link:
    """A name in a folder stands for a node from here on; old: the name that it had before, None for a new node."""

    folder: int
    name: str
    node: int
    old: str | None = None


@dataclass(frozen=True)
class Unlink:
    """A name in a folder was removed."""

    folder: int
    name: str


@dataclass(frozen=True)
class Flush:
    """A file or a folder was flushed; `failed`: what was not on the disk by then is there or gone for good."""

    node: int
    failed: bool = False


@dataclass(frozen=True)
class Committed:
    """Blocks of a shard were committed. shard: its path below the root."""

    shard: str
    blocks: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Returned:
    """The work was done, and its caller was told so."""


Event: TypeAlias = Write | Resize | Link | Unlink | Flush | Committed | Returned
Change: TypeAlias = Write | Resize | Link | Unlink


class Recording:
    """The events of one or more runs under a folder, which begins with what is there, all of it on the disk.

    root: the folder. files: content at the beginning, by node. folders: node by name at the beginning, by node.
    made: the nodes of folders that were made later.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[Event] = []
        self.files: dict[int, bytes] = {}
        self.folders: dict[int, dict[str, int]] = {ROOT: {}}
        self.made: set[int] = set()
        self._inodes: dict[int, int] = {}
        self._nodes = 1
        self._now: dict[Path, int] = {root: ROOT}
        for path in sorted(root.rglob("*")):
            node = self._now[path] = self._new()
            self.folders[self._now[path.parent]][path.name] = node
            if path.is_dir():
                self.folders[node] = {}
            else:
                self.files[node] = path.read_bytes()
                self._inodes[path.stat().st_ino] = node

    def _new(self) -> int:
        self._nodes += 1
        return self._nodes - 1

    def committed(self, final: Path, blocks: Mapping[int, tuple[int, ...]]) -> None:
        """Blocks of a shard are committed from here on."""
        self.events.append(Committed(final.relative_to(self.root).as_posix(), dict(blocks)))

    def returned(self) -> None:
        """The work is done from here on."""
        self.events.append(Returned())

    def lost(self, file: int) -> None:
        """Flushing an open file failed."""
        self.events.append(Flush(self._open(file), failed=True))

    def note(self, name: str, given: tuple[Any, ...], result: Any) -> None:
        """An operation of featurecache.disk was done."""
        match name, given:
            case (("create" | "create_or_keep"), (path,)):
                self._opened(path, result, empty=name == "create")
            case "write_at", (file, data, offset):
                self.events.append(Write(self._open(file), offset, bytes(memoryview(data).cast("B"))))
            case (("allocate" | "truncate"), (file, size)):
                self.events.append(Resize(self._open(file), size, grow=name == "allocate"))
            case "sync", (file,):
                self._flushed(self._open(file))
            case "sync_folder", (path,):
                if path in self._now:  # what lies above the root was there before
                    self._flushed(self._now[path])
            case "rename", (old, new):
                if old.parent != new.parent:
                    raise ValueError(f"{old} was renamed to {new}; expected the same folder")
                node = self._now[new] = self._now.pop(old)
                self.events.append(Link(self._now[new.parent], new.name, node, old.name))
            case (("remove" | "remove_folder"), (path,)):
                if path in self._now and not path.exists():
                    del self._now[path]
                    self.events.append(Unlink(self._now[path.parent], path.name))
            case "add_folder", (path,):
                if path not in self._now:
                    self.made.add(self._link(path))

    def _flushed(self, node: int) -> None:
        self.events.append(Flush(node))

    def _open(self, file: int) -> int:
        return self._inodes[os.fstat(file).st_ino]

    def _opened(self, path: Path, file: int, *, empty: bool) -> None:
        if path not in self._now:
            # The number of an inode whose file is gone may be given again.
            self._inodes[os.fstat(file).st_ino] = self._link(path)
        elif empty:
            self.events.append(Resize(self._now[path], 0, grow=False))

    def _link(self, path: Path) -> int:
        node = self._now[path] = self._new()
        self.events.append(Link(self._now[path.parent], path.name, node))
        return node
