"""Parquet written while it is made: cells, row groups, and nothing left of what fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from featurecache.convert.parquet import streamed
from featurecache.convert.parquet.streamed import Kind, write_table

KINDS: dict[str, Kind] = {"id": "text", "label": "integer", "probability": "number"}


def blocks(sizes: list[int]) -> Iterator[dict[str, list[Any]]]:
    """Rows numbered on; a third of the labels and a fourth of the probabilities are not there."""
    done = 0
    for size in sizes:
        rows = range(done, done + size)
        yield {
            "probability": [None if row % 4 == 1 else row / 7 for row in rows],
            "id": [f"=ü{row}" for row in rows],
            "label": [None if row % 3 == 0 else row for row in rows],
        }
        done += size


@pytest.mark.parametrize("sizes", [[], [0], [1], [3, 0, 4, 1], [20]])
def test_what_is_written_is_read(sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "CELLS", 15)
    write_table(tmp_path / "x.parquet", KINDS, blocks(sizes))
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names == list(KINDS)
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double"]
    whole = next(blocks([sum(sizes)]))
    assert table.to_pydict() == {name: whole[name] for name in KINDS}


def test_small_blocks_make_large_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "CELLS", 30)
    write_table(tmp_path / "x.parquet", KINDS, blocks([4] * 6))
    found = parquet.ParquetFile(tmp_path / "x.parquet").metadata
    assert [found.row_group(group).num_rows for group in range(found.num_row_groups)] == [12, 12]


def test_wide_tables_have_short_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "CELLS", 60)
    wide: dict[str, Kind] = {f"p_{i}": "number" for i in range(20)}
    write_table(tmp_path / "x.parquet", wide, ({name: [0.5] for name in wide} for _ in range(6)))
    found = parquet.ParquetFile(tmp_path / "x.parquet").metadata
    assert [found.row_group(group).num_rows for group in range(found.num_row_groups)] == [3, 3]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(error: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("before")

    def failing() -> Iterator[dict[str, list[Any]]]:
        yield from blocks([2])
        raise error

    with pytest.raises(error):
        write_table(tmp_path / "x.parquet", KINDS, failing())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x.parquet": "before"}
