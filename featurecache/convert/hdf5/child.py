"""Where the numbers of an HDF5 file lie: a program of its own, the only one that gives a stranger's file to HDF5.

The library is asked for names, shapes, types and addresses, and never for a value, an attribute, a link's target, a
filter or a plug-in; the values are read by the parent, without it. What a hostile file can still do is crash the
library or make it work for ever, so this process has little memory, little time, can create no file, and once the
library is loaded cannot open another one. It is run by its path and imports nothing of the project, which would cost
seconds.

    argv      the number of the open file's descriptor, which it inherits
    stdin     one JSON line: names that shall be in the list; later one JSON line: the names chosen
    stdout    one JSON line, {"base": …, "more": …, "datasets": {name: {…}}} or {"error": …}; then, for each chosen
              name, its chunk table (records of CHUNK in row order) or the bytes of a compact dataset, or nothing
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections import deque
from contextlib import suppress
from math import prod
from typing import Any

MEMORY = 2**30  # bytes of address space, of which Python, NumPy and h5py take about a third
CPU_SECONDS = 15
MAX_NAMES, MAX_DEPTH, MAX_NAME = 1000, 8, 512
CHUNK = struct.Struct("<QII")  # address, stored bytes, filters left out (a bit each)
MISSING = CHUNK.pack(2**64 - 1, 0, 0)


def limit_before_loading() -> None:
    """Bound memory, time and what may be written; a core file would be of the stranger's making."""
    import resource

    limits = {"CPU": CPU_SECONDS, "CORE": 0, "FSIZE": 0, "AS": MEMORY, "DATA": MEMORY}
    for name, value in limits.items():
        with suppress(ValueError, OSError):  # macOS knows AS and refuses to set it
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def limit_after_loading() -> None:
    """From here on no file can be opened and no process started."""
    import resource

    free = os.dup(0)  # the lowest free number: all below it are taken
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def open_file(number: int) -> Any:
    """The file, read through the descriptor and never through a path."""
    from h5py import h5f, h5fd, h5p

    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5fd.fileobj_driver, os.fdopen(number, "rb", buffering=0))
    return h5f.open(b"the file", h5f.ACC_RDONLY, access)


def listing(root: Any, wanted: list[str]) -> tuple[dict[str, Any], bool]:
    """Every dataset and strange link by its path, described; and whether there are more than were looked at.

    wanted: paths that are looked up first, however many names there are.
    """
    found: dict[str, Any] = {}
    for path in wanted:
        with suppress(KeyError, ValueError, RuntimeError, OSError):  # not there: the parent says so
            found[path] = look_up(root, path)
    from h5py import h5g, h5l, h5o

    queue, seen = deque([(root, "", 1)]), {h5o.get_info(root).addr}
    left, more = MAX_NAMES, False
    while queue and left > 0:
        group, prefix, depth = queue.popleft()
        links = links_of(group, left + 1)
        more = more or len(links) > left
        for name, kind, address in links[:left]:
            left -= 1
            path = prefix + name.decode("utf-8", errors="surrogateescape")
            more = more or len(path) > MAX_NAME
            if len(path) > MAX_NAME or path in found or (kind == h5l.TYPE_HARD and address in seen):
                continue
            item = describe(group, name, kind)
            if isinstance(item, dict):
                found[path] = item
            elif isinstance(item, h5g.GroupID):
                seen.add(address)  # a group may hold itself
                more = more or depth == MAX_DEPTH
                if depth < MAX_DEPTH:
                    queue.append((item, path + "/", depth + 1))
    return found, more or bool(queue)


def links_of(group: Any, most: int) -> list[tuple[bytes, int, int]]:
    """(name, kind, address) of the links in a group, so many at most."""
    links: list[tuple[bytes, int, int]] = []

    def note(name: bytes, info: Any) -> bool | None:
        links.append((name, info.type, info.u))  # the same object is given to every call: it may not be kept
        return True if len(links) >= most else None

    group.links.iterate(note, info=True)
    return links


def look_up(root: Any, path: str) -> Any:
    """The description of what lies under a path, reached by hard links alone; KeyError where nothing does."""
    group = root
    *folders, last = path.encode("utf-8", errors="surrogateescape").split(b"/")
    for folder in folders:
        step = describe(group, folder, group.links.get_info(folder).type)
        if not hasattr(step, "links"):
            return step if isinstance(step, dict) and "refused" in step else {"refused": "it is inside a dataset"}
        group = step
    item = describe(group, last, group.links.get_info(last).type)
    if not isinstance(item, dict):
        raise KeyError(path)
    return item


def describe(group: Any, name: bytes, link: int) -> Any:
    """A dataset or a strange link as JSON values, a group as itself, anything else as None."""
    from h5py import h5d, h5g, h5l, h5o

    if link != h5l.TYPE_HARD:
        kind = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link to another file"}.get(link, "a strange link")
        return {"refused": f"it is {kind}, and only what lies in the file itself is read"}
    try:
        item = h5o.open(group, name)
        if isinstance(item, h5g.GroupID):
            return item
        return describe_dataset(item) if isinstance(item, h5d.DatasetID) else None
    except MemoryError:
        raise
    except Exception as error:  # h5py maps the library's errors to many types
        return {"refused": f"HDF5 cannot open it ({str(error)[:120]})"}


def describe_dataset(dataset: Any) -> dict[str, Any]:
    """Shape, type and place of a dataset; "refused" says why it cannot be read."""
    from h5py import h5d, h5s

    plan = dataset.get_create_plist()
    layout = plan.get_layout()
    if layout == h5d.VIRTUAL:  # asked for its shape, the library would open the files it is made of
        return {"refused": "it is a virtual dataset: its values lie in other files"}
    if plan.get_external_count():
        return {"refused": "its values lie in another file (external storage)"}
    space = dataset.get_space()
    if space.get_simple_extent_type() != h5s.SIMPLE:
        return {"refused": "it is a single value or empty, not an array"}
    filters = [plan.get_filter(i) for i in range(plan.get_nfilters())]
    out: dict[str, Any] = {
        "shape": [int(number) for number in space.get_simple_extent_dims()],
        "filters": [[int(code), int(values[0]) if values else 0] for code, _, values, _ in filters],
        "layout": {h5d.COMPACT: "compact", h5d.CONTIGUOUS: "contiguous", h5d.CHUNKED: "chunked"}.get(layout, "unknown"),
        **describe_type(dataset.get_type()),
    }
    if layout == h5d.CHUNKED:
        out["chunk"] = [int(number) for number in plan.get_chunk()]
    if layout == h5d.CONTIGUOUS:
        out["offset"] = dataset.get_offset()  # None: nothing was ever stored
    return out


def describe_type(kind: Any) -> dict[str, Any]:
    """The type as NumPy writes it, "|S…" for text of one width, "text" for text of any; or why it is refused."""
    from h5py import h5t

    if kind.get_class() == h5t.STRING:
        if kind.is_variable_str():
            return {"dtype": "text", "padding": 0}
        return {"dtype": f"|S{kind.get_size()}", "padding": int(kind.get_strpad())}
    for letter, name, sizes in (("f", "IEEE_F", (2, 4, 8)), ("i", "STD_I", (1, 2, 4, 8)), ("u", "STD_U", (1, 2, 4, 8))):
        for size in sizes:
            for order, end in (("<", "LE"), (">", "BE")):
                if kind.equal(getattr(h5t, f"{name}{8 * size}{end}")):
                    return {"dtype": f"{order}{letter}{size}"}
    names = [
        "COMPOUND",
        "OPAQUE",
        "REFERENCE",
        "ENUM",
        "VLEN",
        "ARRAY",
        "BITFIELD",
        "COMPLEX",
        "TIME",
        "INTEGER",
        "FLOAT",
    ]
    name = next((name for name in names if kind.get_class() == getattr(h5t, name, None)), "unknown")
    return {"refused": f"its type is {name.lower()} of {kind.get_size()} bytes, not a plain number or text"}


def contents(root: Any, path: str, entry: dict[str, Any]) -> bytes:
    """What the parent needs beside the description: the chunk table, the values of a compact dataset, or nothing.

    The parent chooses none that is too large.
    """
    import numpy as np
    from h5py import h5o, h5s

    if "refused" in entry or entry["layout"] not in ("chunked", "compact"):
        return b""
    dataset = h5o.open(root, path.encode("utf-8", errors="surrogateescape"))
    if entry["layout"] == "compact":
        values = np.empty(entry["shape"], entry["dtype"])
        dataset.read(h5s.ALL, h5s.ALL, values, dataset.get_type())
        return values.tobytes()
    chunk = entry["chunk"]
    grid = [-(-rows // step) for rows, step in zip(entry["shape"], chunk, strict=True)]
    table = bytearray(MISSING * prod(grid))

    def note(info: Any) -> None:
        place = 0
        for offset, step, steps in zip(info.chunk_offset, chunk, grid, strict=True):
            if offset // step >= steps:
                return
            place = place * steps + offset // step
        CHUNK.pack_into(table, CHUNK.size * place, info.byte_offset, info.size, info.filter_mask)

    dataset.chunk_iter(note)
    return bytes(table)


def answer(number: int) -> None:
    """Send the list, wait for the choice, send what belongs to it."""
    from h5py import h5g

    out = sys.stdout.buffer
    wanted = json.loads(sys.stdin.readline())
    file = open_file(number)
    root, made = h5g.open(file, b"/"), file.get_create_plist()
    datasets, more = listing(root, wanted)
    head = {"base": made.get_userblock(), "sizes": list(made.get_sizes()), "more": more}
    out.write(json.dumps({**head, "datasets": datasets}).encode() + b"\n")
    out.flush()
    for path in json.loads(sys.stdin.readline()):
        out.write(contents(root, path, datasets[path]))
    out.flush()


def main() -> None:
    """Answer the parent; whatever goes wrong becomes one line of JSON."""
    limit_before_loading()
    try:
        import h5py  # noqa: F401 (loaded while files can still be opened)

        limit_after_loading()
        answer(int(sys.argv[1]))
    except MemoryError:
        print(json.dumps({"error": "it ran out of memory"}), flush=True)
    except Exception as error:  # h5py maps the library's errors to many types
        print(json.dumps({"error": str(error)[:300]}), flush=True)


if __name__ == "__main__":
    main()
