"""Parquet files: features as a column of lists, read by record batches and written a file a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from featurecache.convert.blocks import as_block
from featurecache.convert.columns import Block, find_columns
from featurecache.convert.parquet.table import Table, check_library
from featurecache.convert.rows import columns_of, cut, save_head
from featurecache.disk import replacing
from featurecache.reader import FeatureCache
from featurecache.reading.split import Array


def matches(path: Path) -> bool:
    """Whether it is a Parquet file, by its name."""
    return path.suffix.lower() == ".parquet" and not path.is_dir()


def read(path: Path, names: Mapping[str, str]) -> Iterator[Block]:
    """Blocks of a Parquet file.

    path: features as a column of lists or as columns feature_0, feature_1, … (which together are feature_*), and where
        it has them labels, logits and sample_id. names: our names -> its.
    ValueError when it is damaged, has empty cells or lists of different lengths, or would inflate beyond measure;
    ImportError without pyarrow.
    """
    with ExitStack() as stack:
        table = Table(path, stack)
        chosen = find_columns(table.shapes(), names, path)
        for raw in table.batches(chosen):
            yield as_block(raw, path)


def save(cache: FeatureCache, folder: Path) -> list[Path]:
    """A file a split, and the head: features and logits as fixed-size lists, label, index, sample_id, status."""
    made = []
    for name, split in cache.items():
        made.append(folder / f"{name}.parquet")
        save_table(columns_of(split), made[-1])
    return made + save_head(cache, folder)


def save_table(columns: Mapping[str, Array], target: Path) -> None:
    """Write columns as one Parquet file, uncompressed (features hardly compress) and with checksums.

    columns: (n, W) as lists of W, (n,) as they are; the labels are called label, as most tools expect.
    """
    check_library()
    import pyarrow as arrow
    from pyarrow import parquet

    kinds = {name: _kind(arrow, values) for name, values in columns.items()}
    schema = arrow.schema([(_written(name), kind) for name, kind in kinds.items()])
    with (
        replacing(target) as part,
        parquet.ParquetWriter(
            part, schema, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
        ) as writer,
    ):
        for block in cut(dict(columns)):
            arrays = [_arrow(arrow, np.ascontiguousarray(block[name]), kind) for name, kind in kinds.items()]
            writer.write_batch(arrow.record_batch(arrays, schema=schema))


def _written(name: str) -> str:
    return "label" if name == "labels" else name


def _kind(arrow: Any, values: Array) -> Any:
    if values.dtype.kind == "U":
        return arrow.string()
    kind = arrow.from_numpy_dtype(values.dtype)
    return kind if len(values.shape) == 1 else arrow.list_(kind, values.shape[1])


def _arrow(arrow: Any, values: Any, kind: Any) -> Any:
    """The rows as an Arrow array."""
    if values.ndim == 1:
        return arrow.array(values.tolist() if values.dtype.kind == "U" else values, kind)
    return arrow.FixedSizeListArray.from_arrays(arrow.array(values.reshape(-1)), values.shape[1])
