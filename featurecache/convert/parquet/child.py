"""The rows of a Parquet file: a program of its own, the only one that gives a stranger's file to pyarrow.

A few wrong bytes can end the process that reads them, and a small file can ask for any amount of memory. So this one
has little memory, little time, can create no file, and once the library is loaded cannot open another one. It is run by
its path and imports nothing of the project, which would cost seconds.

    argv      the number of the open file's descriptor, which it inherits, and the seconds of work it may take
    stdin     one JSON line: {"columns": [name, …], "rows": rows of a block}
    stdout    one JSON line, {"rows": N, "columns": {name: [width or null, dtype]}} or {"error": …}; when the columns
              have been chosen, blocks: the number of rows (uint32), then every column; 0 rows at the end, and
              2^32 - 1 before the length (uint32) and the text of an error

A column of numbers is its bytes in row order; a column of texts (dtype "text") n lengths (uint32), then UTF-8.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

MEMORY = 3 * 2**30  # bytes of address space; about one for the pages of a thousand columns
BUFFER = 2**17  # bytes that are read of a column at a time
MAX_COLUMNS, MAX_NAME, MAX_TEXT, MAX_THRIFT = 20_000, 256, 4096, 2**20
COUNT = struct.Struct("<I")
FAILED = COUNT.pack(2**32 - 1)


def limit(**limits: int) -> None:
    """Bound what this process may use."""
    import resource

    for name, value in limits.items():
        with suppress(ValueError, OSError):  # macOS knows AS and refuses to set it
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def opened(number: int) -> Any:
    """The file, read through the descriptor and never through a path."""
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(
        os.fdopen(number, "rb"),
        buffer_size=BUFFER,
        pre_buffer=False,
        thrift_string_size_limit=2**24,
        thrift_container_size_limit=MAX_THRIFT,
        page_checksum_verification=True,
    )


def listing(file: Any) -> dict[str, Any]:
    """Every column of numbers, of lists of numbers and of texts: its width and dtype."""
    metadata, schema = file.metadata, file.schema_arrow
    columns: dict[str, Any] = {}
    leaf = 0
    for field in schema:
        count = leaves(field.type)
        kind = described(field.type, leaf, metadata) if count == 1 and metadata.num_rows > 0 else None
        if kind is not None and len(field.name) <= MAX_NAME and schema.names.count(field.name) == 1:
            columns[field.name] = kind
        leaf += count
        if len(columns) >= MAX_COLUMNS:
            break
    return {"rows": metadata.num_rows, "columns": columns}


def leaves(kind: Any) -> int:
    """How many columns of the file a type takes."""
    from pyarrow import BaseExtensionType, types

    if isinstance(kind, BaseExtensionType):
        return leaves(kind.storage_type)
    if types.is_struct(kind):
        return sum(leaves(field.type) for field in kind)
    if types.is_map(kind):
        return leaves(kind.key_type) + leaves(kind.item_type)
    return leaves(kind.value_type) if is_list(kind) else 1


def is_list(kind: Any) -> bool:
    """Whether its values are lists."""
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_text(kind: Any) -> bool:
    """Whether its values are texts, or numbers that stand for such."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind))


def described(kind: Any, leaf: int, metadata: Any) -> list[Any] | None:
    """Width and dtype, None for what is neither numbers nor texts."""
    from pyarrow import types

    if is_text(kind):
        return [None, "text"]
    number, width = kind, None
    if is_list(kind):
        groups = (metadata.row_group(i).column(leaf).num_values for i in range(metadata.num_row_groups))
        width = kind.list_size if types.is_fixed_size_list(kind) else sum(groups) // metadata.num_rows
        number = kind.value_type
    if not (types.is_integer(number) or types.is_floating(number)):
        return None
    letter = "f" if types.is_floating(number) else "i" if types.is_signed_integer(number) else "u"
    return [width, f"{letter}{number.bit_width // 8}"]


def blocks(file: Any, asked: dict[str, Any], columns: dict[str, Any]) -> Iterator[bytes]:
    """The bytes of all rows of the columns that were asked for."""
    for batch in file.iter_batches(asked["rows"], columns=asked["columns"], use_threads=False):
        parts = [COUNT.pack(batch.num_rows)]
        for name in asked["columns"]:
            width, dtype = columns[name]
            values = batch.column(batch.schema.get_field_index(name))
            parts.append(texts(name, values) if dtype == "text" else numbers(name, values, width, dtype))
        if batch.num_rows:
            yield b"".join(parts)  # all of it or, after an error, nothing


def numbers(name: str, values: Any, width: int | None, dtype: str) -> bytes:
    """A column of numbers; ValueError for empty cells and lists of another length."""
    import numpy

    inner = values if width is None else values.flatten()
    if values.null_count or inner.null_count:
        raise ValueError(f"column {name!r} has empty cells; expected a number in every one")
    lengths = numpy.diff(values.offsets) if hasattr(values, "offsets") else numpy.array([width])
    if width is not None and ((lengths != width).any() or len(inner) != len(values) * width):
        raise ValueError(f"column {name!r} has lists of different lengths; expected {width} numbers in each")
    return inner.to_numpy(zero_copy_only=False).astype(f"<{dtype}", copy=False).tobytes()  # type: ignore[no-any-return]


def texts(name: str, values: Any) -> bytes:
    """A column of texts; ValueError for empty cells and for texts that are too long."""
    encoded = [None if text is None else text.encode() for text in values.to_pylist()]
    if any(text is None or len(text) > MAX_TEXT for text in encoded):
        raise ValueError(f"column {name!r} has empty cells, or texts of more than {MAX_TEXT} bytes")
    return b"".join([*(COUNT.pack(len(text)) for text in encoded if text is not None), *filter(None, encoded)])


def one_line(error: Exception) -> str:
    """What the parent is told."""
    return (" ".join(str(error).split()) or type(error).__name__)[:400]


def main() -> None:
    """Say what there is, then the rows of what is chosen."""
    out = sys.stdout.buffer
    limit(CPU=int(sys.argv[2]), CORE=0, FSIZE=0, AS=MEMORY, DATA=MEMORY)
    try:
        import numpy  # noqa: F401 (all that will be needed, while files can still be opened)
        import pyarrow.compute
        import pyarrow.parquet

        pyarrow.set_io_thread_count(1)
        free = os.dup(0)  # the lowest free number: all below it are taken
        os.close(free)
        limit(NOFILE=free)
        file = opened(int(sys.argv[1]))
        there = listing(file)
    except Exception as error:
        there = {"error": one_line(error)}
    out.write(json.dumps(there).encode() + b"\n")
    out.flush()
    asked = sys.stdin.buffer.readline()
    if not asked or "error" in there:
        return
    try:
        for part in blocks(file, json.loads(asked), there["columns"]):
            out.write(part)
    except Exception as error:
        text = one_line(error).encode("utf-8", "replace")
        out.write(FAILED + COUNT.pack(len(text)) + text)
    else:
        out.write(COUNT.pack(0))
    out.flush()


if __name__ == "__main__":
    main()
