"""Put a mutated cache on the disk, read it, and say what came of it."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from mutating.caches import Files, Sound
from mutating.mutations import Mutated
from mutating.reading import implausible, seen

LONGEST = 800  # characters of a refusal beside the path

SAME, REFUSED, PLAUSIBLE = "the same", "refused", "another cache, plausible"
GOOD = (SAME, REFUSED, PLAUSIBLE)
DIFFERENT, IMPLAUSIBLE, UGLY, FOREIGN = "DIFFERENT", "IMPLAUSIBLE", "REFUSED BADLY", "ANOTHER EXCEPTION"
BAD = (DIFFERENT, IMPLAUSIBLE, UGLY, FOREIGN)


class Bench:
    """A folder in which one mutated cache after the other lies.

    folder: an empty one. caches: the sound ones.
    """

    def __init__(self, folder: Path, caches: list[tuple[Sound, Files]]) -> None:
        self._folder, self._caches = folder, caches
        for sound, _ in caches:
            for name, data in sound.files.items():
                _write(folder / sound.kind / name, data)

    def judge(self, mutated: Mutated) -> tuple[str, str]:
        """The outcome, one of GOOD or BAD, and what there is to say of it."""
        sound, _ = self._caches[mutated.kind]
        path = self._folder / sound.kind
        for name, data in mutated.files.items():
            _clear(path / name)
            _write(path / name, data) if isinstance(data, bytes) else ODD[data](path / name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return _outcome(path, sound, mutated.sealed)
        finally:
            for name in mutated.files:
                _clear(path / name)
                if name in sound.files:
                    _write(path / name, sound.files[name])


def _outcome(path: Path, sound: Sound, sealed: bool) -> tuple[str, str]:
    try:
        # Whoever made all checksums right may as well have left out a split.
        found = seen(path, () if sealed else sound.splits)
        if found == sound.seen:
            return SAME, ""
        if not sealed:
            return DIFFERENT, ", ".join(key for key in found if found[key] != sound.seen[key])
        wrong = implausible(path)
        return (PLAUSIBLE, "") if wrong is None else (IMPLAUSIBLE, wrong)
    except ValueError as error:
        message = str(error).replace(str(path), "")
        fine = not isinstance(error, UnicodeError) and message.isprintable() and 0 < len(message) < LONGEST
        return (REFUSED if fine else UGLY), f"{type(error).__name__}: {message[:1000]!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return FOREIGN, f"{type(error).__name__}: {str(error)[:300]!r}"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


ODD: dict[str, Callable[[Path], None]] = {
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "loop": lambda path: path.symlink_to(path.name),
    "nothing": lambda path: None,
}
