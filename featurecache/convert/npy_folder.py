"""Folders of .npy files with metadata in Parquet files, as embedding-reader and clip-retrieval keep them.

img_emb/img_emb_0.npy holds rows whose metadata are metadata/metadata_0.parquet, and so on by number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from featurecache.convert.blocks import as_block, table_blocks
from featurecache.convert.columns import Block, find_columns
from featurecache.convert.npy import open_array, write_header
from featurecache.convert.parquet.files import save_table
from featurecache.convert.parquet.table import Table
from featurecache.convert.rows import columns_of, cut, save_head
from featurecache.disk import replacing
from featurecache.layout import shown as shown_path
from featurecache.quoting import shown
from featurecache.reader import FeatureCache

ARRAYS, TABLES = "img_emb", "metadata"
_NUMBER = re.compile(r"(\d{1,9})$", re.ASCII)


def matches(path: Path) -> bool:
    """Whether it is a folder with a folder img_emb in it."""
    return (path / ARRAYS).is_dir()


def read(path: Path, names: Mapping[str, str]) -> Iterator[Block]:
    """Blocks of the rows of all files, in the order of their numbers.

    path: img_emb/*.npy, and metadata/*.parquet unless there are no labels and no names. names: our names -> theirs,
        the features being img_emb.
    ValueError when a file is damaged, has no partner, or does not fit the first; ImportError without pyarrow.
    """
    pairs = _pairs(path)
    widths = {number: open_array(array).shape[1:] for number, (array, _) in pairs.items()}
    if odd := [number for number, width in widths.items() if width != widths[min(widths)]]:
        raise ValueError(
            f"{shown_path(pairs[odd[0]][0])}: rows of shape {widths[odd[0]]}; those of number {min(widths)} have "
            f"{widths[min(widths)]}"
        )
    expected: dict[str, str] = {}
    for array, table in pairs.values():
        with ExitStack() as stack:
            opened = None if table is None else Table(table, stack)
            chosen = _columns(array, opened, names)
            if expected and chosen != expected:
                raise ValueError(f"{shown_path(array)}: columns {chosen}; before it they were {expected}")
            expected = chosen
            yield from _rows(array, opened, chosen)


def save(cache: FeatureCache, folder: Path) -> list[Path]:
    """A folder a split, of one array and one table, and the head."""
    made: list[Path] = []
    for name, split in cache.items():
        array, table = folder / name / ARRAYS / f"{ARRAYS}_0.npy", folder / name / TABLES / f"{TABLES}_0.parquet"
        array.parent.mkdir(parents=True)
        table.parent.mkdir()
        columns = columns_of(split)
        features = columns.pop("features")
        with replacing(array) as part, part.open("wb") as stream:
            write_header(stream, features.shape, features.dtype)
            for block in cut({"features": features, "index": split.index}):
                stream.write(np.ascontiguousarray(block["features"]).tobytes())
        save_table(columns, table)
        made += [array, table]
    return made + save_head(cache, folder)


def _pairs(path: Path) -> dict[int, tuple[Path, Path | None]]:
    """The arrays and their tables, in the order of their numbers."""
    arrays, tables = _files(path / ARRAYS, ".npy"), _files(path / TABLES, ".parquet")
    if not arrays or (tables and arrays.keys() != tables.keys()):
        odd = sorted(arrays.keys() ^ tables.keys())[:1]
        which = f" (number {odd[0]} is in one of them only)" if odd else ""
        raise ValueError(
            f"{shown_path(path)}: {len(arrays)} .npy files in {ARRAYS} and {len(tables)} .parquet files in {TABLES}"
            f"{which}; expected a pair of every number"
        )
    return {number: (arrays[number], tables.get(number)) for number in sorted(arrays)}


def _files(folder: Path, suffix: str) -> dict[int, Path]:
    """The files of a folder by the number at the end of their names."""
    out: dict[int, Path] = {}
    for file in sorted(folder.glob(f"*{suffix}")) if folder.is_dir() else ():
        number = _NUMBER.search(file.stem)
        if number is None or int(number[1]) in out:
            raise ValueError(f"{shown_path(file)}: expected a name with a number of its own, such as _0{suffix}")
        out[int(number[1])] = file
    return out


def _columns(array: Path, table: Table | None, names: Mapping[str, str]) -> dict[str, str]:
    """Which columns of a pair to read."""
    shape = open_array(array).shape
    there = {} if table is None else table.shapes()
    if table is not None and table.rows != shape[0]:
        raise ValueError(f"{shown_path(array)}: {shape[0]} rows; the table beside it has {table.rows}")
    if names.get("features", ARRAYS) != ARRAYS:
        raise ValueError(f"--map features={shown(names['features'])}: in such a folder the features are {ARRAYS}")
    return find_columns(there | {ARRAYS: shape}, {"features": ARRAYS, **names}, array)


def _rows(array: Path, table: Table | None, chosen: Mapping[str, str]) -> Iterator[Block]:
    """Blocks of a pair."""
    features = open_array(array)
    others = {ours: theirs for ours, theirs in chosen.items() if ours != "features"}
    if table is None or not others:
        yield from table_blocks({ARRAYS: features}, {"features": ARRAYS}, array)
        return
    start = 0
    for raw in table.batches(others, beside=features.nbytes // len(features)):
        stop = start + len(next(iter(raw.values())))
        yield as_block({"features": features[start:stop], **raw}, array)
        start = stop
