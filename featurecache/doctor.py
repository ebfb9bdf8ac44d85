"""What is installed, what works here, and how to mend what does not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from featurecache.checkup import device, durability, installed, locking, machine, sources, storing
from featurecache.checkup.finding import Finding, failed, one_line
from featurecache.quoting import shown

TRIED_IN = ".rebalance-doctor-"  # begins the name of a folder that is removed again

ON_THE_MACHINE: dict[str, Callable[[], Iterable[Finding]]] = {
    "packages": installed.installed,
    "device": device.devices,
    "threads": lambda: [machine.threads()],
    "shared memory": lambda: [machine.shared_memory()],
    "open files": lambda: [machine.open_files()],
    "clock": lambda: [machine.clock()],
}
IN_THE_FOLDER: dict[str, Callable[[Path], Finding]] = {
    "file system": durability.file_system,
    "free room": durability.room,
    "disk's clock": durability.disk_clock,
    "locks": locking.locking,
    "flushing": durability.flushing,
    "renaming": durability.renaming,
    "reserving": durability.reserving,
    "cache": storing.cache,
    "images": storing.images,
}


def examine(folder: str | os.PathLike[str]) -> Iterator[Finding]:
    """Every finding, as it is found: packages and the machine, the folder's disk, then the optional packages.

    folder: where caches will lie; something is tried in it, and nothing stays there.
    ValueError when it is no folder. Nothing else is raised: what goes wrong is a finding.
    """
    place = Path(folder)
    if not place.is_dir():
        what = "not a folder" if place.exists() else "no such folder; make it"
        raise ValueError(f"{shown(place)}: {what}; expected the folder that caches will lie in")
    return _examined(place)


def _examined(folder: Path) -> Iterator[Finding]:
    with sources.begun() as running:
        for name, look in ON_THE_MACHINE.items():
            yield from _careful(name, look)
        yield from _careful("folder", lambda: _disk(folder))
        yield from sources.outcomes(running)


def _disk(folder: Path) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryDirectory(prefix=TRIED_IN, dir=folder) as spot:
            for name, look in IN_THE_FOLDER.items():
                yield from _careful(name, lambda look=look: [look(Path(spot))])  # type: ignore[misc]
    except OSError as error:
        said = f"{shown(folder)}: nothing can be written there: {one_line(error)}"
        yield failed("folder", said, "name a folder that you may write to: rebalance doctor FOLDER")


def _careful(name: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a look finds; one that breaks off is a finding too."""
    try:
        yield from look()
    except Exception as error:  # a broken machine may answer anything
        yield failed(name, f"cannot be looked at: {one_line(error)}", "mend what the message names, and look again")
