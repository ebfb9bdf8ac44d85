"""Folders of arrays with metadata beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache import FeatureCache
from featurecache.convert.npy_folder import read, save

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def folder(tmp_path: Path, columns: Any) -> Path:
    """The rows in four pairs of files whose numbers are not in the order of their names; captions that nobody wants."""
    out = tmp_path / "laion"
    for kind in ("img_emb", "metadata"):
        (out / kind).mkdir(parents=True)
    for number, (start, stop) in zip((0, 2, 10, 11), ((0, 9), (9, 10), (10, 30), (30, 37)), strict=True):
        np.save(out / "img_emb" / f"img_emb_{number}.npy", columns["features"][start:stop].astype(np.float16))
        table = {"image_path": columns["sample_id"][start:stop], "caption": ["?"] * (stop - start)}
        table["label"] = columns["labels"][start:stop]
        pq.write_table(pa.table(table), out / "metadata" / f"metadata_{number}.parquet")
    return out


def test_files_are_read_by_number(folder: Path, columns: Any, gathered: Any, same_rows: Any) -> None:
    expected = {"features": columns["features"].astype(np.float16)}
    expected |= {name: columns[name] for name in ("labels", "sample_id")}
    same_rows(gathered(folder), expected)
    found = gathered(folder, {"sample_id": "caption", "labels": ""})
    same_rows(found, {"features": expected["features"], "sample_id": ["?"] * 37})


def test_arrays_alone(folder: Path, columns: Any, gathered: Any, same_rows: Any) -> None:
    for file in (folder / "metadata").iterdir():
        file.unlink()
    same_rows(gathered(folder), {"features": columns["features"].astype(np.float16)})


def test_what_is_saved_lies_as_embedding_reader_expects(
    tmp_path: Path, cache: FeatureCache, columns: Any, gathered: Any, same_rows: Any
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    files = save(cache, out)
    assert [file.relative_to(out).as_posix() for file in files] == [
        "train/img_emb/img_emb_0.npy",
        "train/metadata/metadata_0.parquet",
        "val/img_emb/img_emb_0.npy",
        "val/metadata/metadata_0.parquet",
        "head.safetensors",
    ]
    np.testing.assert_array_equal(np.load(files[0]), columns["features"])
    assert pq.read_table(files[1]).column_names == ["logits", "label", "index", "sample_id", "status"]
    same_rows(gathered(out / "train"), columns)


class TestRefused:
    """Folders whose files do not belong together."""

    def test_a_file_without_a_partner(self, folder: Path, refused: Any) -> None:
        (folder / "metadata" / "metadata_2.parquet").unlink()
        with refused("laion", "4 .npy files in img_emb and 3 .parquet files", "number 2"):
            list(read(folder, {}))

    @pytest.mark.parametrize("name", ["img_emb.npy", "other_2.npy"])
    def test_names_without_a_number_of_their_own(self, name: str, folder: Path, refused: Any) -> None:
        np.save(folder / "img_emb" / name, np.zeros((2, 2)))
        with refused("img_emb", "a number of its own"):
            list(read(folder, {}))

    def test_other_rows_widths_and_columns(self, folder: Path, refused: Any) -> None:
        array, table = folder / "img_emb" / "img_emb_11.npy", folder / "metadata" / "metadata_11.parquet"
        np.save(array, np.zeros((8, 5)))
        with refused("img_emb_11.npy", "8 rows", "has 7"):
            list(read(folder, {}))
        np.save(array, np.zeros((7, 6)))
        with refused("img_emb_11.npy", "6", "5"):
            next(read(folder, {}))
        np.save(array, np.zeros((7, 5)))
        pq.write_table(pa.table({"label": [0] * 7}), table)
        with refused("img_emb_11.npy", "sample_id"):
            list(read(folder, {}))

    def test_an_empty_folder_and_other_features(self, folder: Path, tmp_path: Path, refused: Any) -> None:
        (tmp_path / "empty" / "img_emb").mkdir(parents=True)
        with refused("empty", "0 .npy files"):
            list(read(tmp_path / "empty", {}))
        with refused("--map features='label'"):
            list(read(folder, {"features": "label"}))
