"""A table written as a Parquet file while it is being made, in row groups: memory does not grow with the rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from featurecache.convert.parquet.table import check_library
from featurecache.disk import replacing

CELLS = 2**19  # that are kept until their rows are written together

Kind = Literal["text", "integer", "number"]


def write_table(path: Path, kinds: Mapping[str, Kind], blocks: Iterable[Mapping[str, Sequence[Any]]]) -> None:
    """Write the blocks of a table one below the other; the file appears under its name when it is whole.

    kinds: of every column, in their order. blocks: cells by column, None where there is none; of equal length within
    a block. They are asked for one by one. ImportError without pyarrow.
    """
    check_library()
    import pyarrow as arrow
    from pyarrow import parquet

    types = {"text": arrow.string(), "integer": arrow.int64(), "number": arrow.float64()}
    schema = arrow.schema([(name, types[kind]) for name, kind in kinds.items()])
    waiting: dict[str, list[Any]] = {name: [] for name in kinds}
    cells = 0
    with (
        replacing(path, f".{os.getpid()}") as part,
        parquet.ParquetWriter(part, schema, write_page_checksum=True) as writer,
    ):
        for block in blocks:
            # As Python's objects: buffers of Arrow among the large ones of the caller keep those from being given back.
            for name, column in waiting.items():
                column.extend(block[name])
            cells += sum(len(block[name]) for name in kinds)
            if cells >= CELLS:
                writer.write_table(arrow.table(waiting, schema=schema))
                waiting, cells = {name: [] for name in kinds}, 0
        if cells:
            writer.write_table(arrow.table(waiting, schema=schema))
