"""Pickles of features."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_the_reference_keeps(protocol: int, tmp_path: Path, columns: Any, gathered: Any, same_rows: Any) -> None:
    kept = {"feats": columns["features"], "labels": columns["labels"], "idxs": np.arange(37)}
    (tmp_path / "trainfeat_all.pkl").write_bytes(pickle.dumps(kept, protocol))
    same_rows(gathered(tmp_path / "trainfeat_all.pkl"), {name: columns[name] for name in ("features", "labels")})


def test_dictionaries_of_splits(tmp_path: Path, columns: Any, gathered: Any, refused: Any) -> None:
    splits = {
        name: {"x": columns["features"][:rows], "y": list(range(rows))} for name, rows in {"a": 5, "b": 7}.items()
    }
    (tmp_path / "x.pickle").write_bytes(pickle.dumps(splits))
    found = gathered(tmp_path / "x.pickle", {"features": "b/x", "labels": "b/y"})
    np.testing.assert_array_equal(found["labels"], np.arange(7))
    with refused("x.pickle", "'a/x', 'b/x'"):
        gathered(tmp_path / "x.pickle")


@pytest.mark.parametrize("data", [b"", b"\x80", pickle.dumps(3), pickle.dumps({"feats": "text"}), pickle.dumps({})])
def test_no_features(data: bytes, tmp_path: Path, gathered: Any, refused: Any) -> None:
    (tmp_path / "x.pkl").write_bytes(data)
    with refused("x.pkl: "):
        gathered(tmp_path / "x.pkl")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@given(data=st.data())
def test_any_file_is_read_or_refused(
    protocol: int,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    gathered: Any,
    damaged: Any,
    read_or_refused: Any,
    plausible: Any,
) -> None:
    value = {"feats": np.arange(12, dtype=np.float32).reshape(4, 3), "y": np.arange(4), "paths": list("abcd")}
    file = tmp_path_factory.mktemp("pickle") / "x.pkl"
    file.write_bytes(damaged(data, pickle.dumps(value, protocol)))
    plausible(read_or_refused(lambda: gathered(file), "x.pkl"))
