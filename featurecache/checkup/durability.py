"""Does the disk of a folder keep what a cache must be able to rely on: flushing, renaming, reserving room?"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import time
from pathlib import Path

from featurecache import disk
from featurecache.checkup.finding import Finding, failed, one_line, passed, warned

LEAST_ROOM = 2 * 10**9  # bytes: about ImageNet-LT's features in float16, with logits
FLUSHES, ENOUGH = 15, 2.0  # flushes to time; seconds after which fewer will do
SLOW = 0.1  # seconds a flush
RESERVED = 2**20  # bytes
SKEW = 2.0  # seconds between the disk's clock and ours
MOUNTS = Path("/proc/self/mounts")
NETWORK = {
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
}
MEMORY = {"ramfs", "tmpfs"}
LAYERS = {"aufs", "overlay"}
LOCAL = "put caches on a local disk, or copy them away when they are finished"


def file_system(folder: Path, mounts: Path = MOUNTS) -> Finding:
    """The kind of file system a folder is on. mounts: the system's list of them."""
    name, kind = "file system", _kind(folder, mounts)
    if kind is None:
        return passed(name, "its kind is not told here")
    if kind in NETWORK or kind.startswith("fuse.s"):
        said = f"{kind}, a network disk: locks and flushes may hold for one machine only"
        return warned(name, said, "let one machine write a cache at a time, or put it on a local disk")
    if kind in MEMORY:
        return warned(name, f"{kind}, in memory: gone when the machine restarts", LOCAL)
    if kind in LAYERS:
        return warned(name, f"{kind}, a container's own layer: gone with the container", "mount a volume for caches")
    return passed(name, kind)


def _kind(folder: Path, mounts: Path) -> str | None:
    """The type of the mount that the folder lies in; the last of the longest, as later ones cover earlier ones."""
    try:
        lines = mounts.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, best, kind = folder.resolve(), -1, None
    for line in lines:
        fields = line.split(" ")
        if len(fields) >= 3:
            point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[1]))
            if (point == place or point in place.parents) and len(point.parts) >= best:
                best, kind = len(point.parts), fields[2]
    return kind


def room(folder: Path) -> Finding:
    """Free room for a cache."""
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:,.1f} GB free"
    if free < LEAST_ROOM:
        mend = "make room: a million rows of 2048 features and 1000 logits take 8 GB (--logits none: 4 GB)"
        return warned("free room", said, mend)
    return passed("free room", said)


def flushing(spot: Path) -> Finding:
    """What a flush to the disk takes. spot: a folder to try it in."""
    name, times = "flushing", list[float]()
    file = disk.create(spot / "flushed")
    try:
        begun = time.perf_counter()
        for number in range(FLUSHES):
            disk.write_at(file, os.urandom(4096), 4096 * number)
            start = time.perf_counter()
            disk.sync(file)
            times.append(time.perf_counter() - start)
            if time.perf_counter() - begun > ENOUGH:
                break
        disk.sync_folder(spot)
    except OSError as error:
        return failed(name, f"the disk cannot flush: {one_line(error)}", "use another disk: a crash would lose rows")
    finally:
        os.close(file)
    middle = statistics.median(times)
    said = f"{1000 * middle:.2f} ms, the middle of {len(times)}"
    if middle > SLOW:
        return warned(name, f"{said}; extraction may wait for it", "put the cache on a local disk")
    return passed(name, said)


def renaming(spot: Path) -> Finding:
    """Whether a rename replaces the file of that name, and whoever reads the old one keeps it. spot: as above."""
    name, old, new = "renaming", spot / "old", spot / "new"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    with open(old, "rb") as reader:
        try:
            disk.rename(new, old)
            replaced = not new.exists() and old.read_bytes() == b"new"
            kept = reader.read() == b"old"
        except OSError as error:
            return failed(name, f"a file in use cannot be replaced: {one_line(error)}", "use another disk")
    if not replaced:
        return failed(name, "a renamed file did not replace the other", "use another disk")
    if not kept:
        return warned(name, "whoever reads a file loses it when it is replaced", "read caches from a local disk")
    return passed(name, "replaces a file in one step")


def reserving(spot: Path) -> Finding:
    """Whether room is really reserved, so that a full disk is found before the work. spot: as above."""
    name, file = "reserving", disk.create(spot / "reserved")
    try:
        disk.allocate(file, RESERVED)
        there = os.fstat(file)
    finally:
        os.close(file)
    if there.st_size != RESERVED:
        return failed(name, f"a file of {RESERVED} bytes came out with {there.st_size}", "use another disk")
    if getattr(there, "st_blocks", 0) * 512 < RESERVED:
        said = "this disk reserves no room, so a full disk is found on the way (nothing is lost then)"
        return warned(name, said, "see that there is room for the whole cache before a long extraction")
    return passed(name, "room is reserved before the work begins")


def disk_clock(spot: Path) -> Finding:
    """The time the disk gives a new file next to ours. spot: as above."""
    stamp = spot / "stamp"
    stamp.touch()
    skew = stamp.stat().st_mtime - time.time()
    if abs(skew) > SKEW:
        said = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        return warned("disk's clock", said, "set both clocks by the network")
    return passed("disk's clock", "as this machine's")
