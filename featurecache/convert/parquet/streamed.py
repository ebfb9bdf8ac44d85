"""A table written as a Parquet file while it is being made, in row groups: memory does not grow with the rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from featurecache.convert.parquet.table import check_library
from featurecache.disk import replacing

GROUP = 2**16  # rows that are kept until they are written together

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
    waiting: list[Any] = []
    with (
        replacing(path, f".{os.getpid()}") as part,
        parquet.ParquetWriter(part, schema, write_page_checksum=True) as writer,
    ):
        for block in blocks:
            waiting.append(
                arrow.record_batch(
                    [arrow.array(block[name], type=schema.field(name).type) for name in kinds], schema=schema
                )
            )
            if sum(len(each) for each in waiting) >= GROUP:
                writer.write_table(arrow.Table.from_batches(waiting))
                waiting.clear()
        if waiting:
            writer.write_table(arrow.Table.from_batches(waiting))
