"""Paths that come from strangers: which may be followed."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from featurecache.quoting import shown

MISSING = "is missing"


def unsafe(path: str) -> str | None:
    """Why a relative path from a list must not be followed; None when it may.

    path: what a list says, with / between folders.
    """
    if not path:
        return "is empty"
    if not path.isprintable() and any(ord(c) < 32 or ord(c) == 127 for c in path):
        return "holds control characters"
    if not path.isascii() and path != path.encode("utf-8", "replace").decode():
        return "is not UTF-8"
    if "\\" in path:
        return "holds a backslash; write / between folders"
    if path.startswith("/") or path[1:3] == ":/":
        return "is absolute; write it relative to the root"
    if ".." in path.split("/"):
        return "climbs out with '..'; write it relative to the root"
    return None


def checked(paths: Sequence[str], folder: Path, *, source: str, place: Callable[[int], str]) -> list[str]:
    """The paths, normalised: different files that are under the folder.

    paths: as a list has them. folder: where they start from. source: what messages call the list.
    place: the place of path i in the list, as "line 3".
    Raises ValueError when one is unsafe, doubled, missing or leads out, NotADirectoryError without the folder.
    """
    root = Root(folder)
    found: dict[str, int] = {}
    missing: list[int] = []
    for i, path in enumerate(paths):
        if reason := unsafe(path):
            raise ValueError(f"{source} {place(i)}: path {shown(path)} {reason}")
        plain = posixpath.normpath(path)
        if plain in found:
            raise ValueError(f"{source} {place(i)}: {shown(plain)} is already in {place(found[plain])}")
        found[plain] = i
        fault = root.find(plain)
        if fault == MISSING:
            missing.append(i)
        elif fault:
            raise ValueError(f"{source} {place(i)}: {shown(plain)} {fault}")
    if missing:
        first = missing[0]
        raise ValueError(
            f"{source} {place(first)}: {shown(paths[first])} is not in {shown(folder)} "
            f"({len(missing)} of {len(paths)} images are missing); pass the folder its paths start from as --root"
        )
    return list(found)


class Root:
    """A folder that relative paths stay inside of, links resolved.

    folder: the root; need not be resolved.
    Raises NotADirectoryError when there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise NotADirectoryError(f"root {shown(folder)} is not a folder; pass the folder the paths start from")
        self._top = os.path.realpath(folder)
        self._folders: dict[str, bool] = {}

    def find(self, path: str) -> str | None:
        """None when the path is a file under the root, else what is wrong with it.

        path: relative, already judged by unsafe().
        """
        full = os.path.join(self._top, path)
        folder = os.path.dirname(full)
        # One resolution a folder, not a file: lists of half a million lines share a few thousand folders.
        if folder not in self._folders:
            self._folders[folder] = self._inside(folder)
        if not self._folders[folder]:
            return "leads out of the root through a link"
        try:
            mode = os.lstat(full).st_mode
            if stat.S_ISLNK(mode):
                if not self._inside(full):
                    return "leads out of the root through a link"
                mode = os.stat(full).st_mode
        except (OSError, ValueError):
            return MISSING
        return None if stat.S_ISREG(mode) else "is not a regular file"

    def _inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return os.path.commonpath([self._top, real]) == self._top
