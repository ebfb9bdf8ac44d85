"""PyTorch files of features."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("archive", [True, False])
def test_tensors_and_names(archive: bool, tmp_path: Path, columns: Any, gathered: Any, same_rows: Any) -> None:
    tensors = {name: torch.tensor(columns[name]) for name in ("features", "labels", "logits")}
    value = {**tensors, "paths": columns["sample_id"], "epoch": 3}
    torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=archive)
    same_rows(gathered(tmp_path / "x.pt"), columns)


def test_splits_parameters_views_and_half_precision(tmp_path: Path, columns: Any, gathered: Any) -> None:
    features = torch.tensor(columns["features"])
    value = {
        "train": {"feats": torch.nn.Parameter(features)},
        "val": {"feats": features.T.contiguous().T.bfloat16()[3:9]},
    }
    torch.save(value, tmp_path / "x.pth")
    np.testing.assert_array_equal(gathered(tmp_path / "x.pth", {"features": "train/feats"})["features"], features)
    found = gathered(tmp_path / "x.pth", {"features": "val/feats"})["features"]
    np.testing.assert_array_equal(found, features.bfloat16()[3:9].float())


def test_one_tensor_is_the_features(tmp_path: Path, columns: Any, gathered: Any, same_rows: Any) -> None:
    torch.save(torch.tensor(columns["features"]), tmp_path / "x.pt")
    same_rows(gathered(tmp_path / "x.pt"), {"features": columns["features"]})


class Runs:
    """Something that a pickle of it would run."""


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({"features": torch.eye(3).to_sparse()}, "dense"),
        ({"features": torch.zeros(2, 2, dtype=torch.complex64)}, "complex64"),
        ({"features": torch.zeros(2, 2, device="meta")}, "meta"),
        ({"features": torch.zeros(2, 2), "x": Runs()}, "Runs"),
        ({"features": np.zeros((2, 2))}, "asks for"),
        ("text", "no columns"),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.filterwarnings("ignore")  # of PyTorch, about the kinds of tensors that are saved here
def test_what_is_no_plain_tensor(value: Any, part: str, tmp_path: Path, gathered: Any, refused: Any) -> None:
    torch.save(value, tmp_path / "x.pt")
    with refused("x.pt: ", part):
        gathered(tmp_path / "x.pt")


def test_a_tensor_that_is_larger_than_its_bytes(tmp_path: Path, gathered: Any, refused: Any) -> None:
    torch.save({"features": torch.zeros(1).expand(1000, 512)}, tmp_path / "x.pt")
    with refused("x.pt", "'features' (1000, 512) is larger than the bytes stored for it"):
        gathered(tmp_path / "x.pt")


def test_a_compressed_archive(tmp_path: Path, gathered: Any, refused: Any) -> None:
    import zipfile

    torch.save({"features": torch.zeros(1000, 50)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "x.pt", "w", 8) as packed:
        for info in plain.infolist():
            packed.writestr(info.filename, plain.read(info))
    with refused("x.pt", "is compressed"):
        gathered(tmp_path / "x.pt")


@pytest.mark.parametrize("archive", [True, False])
@given(data=st.data())
def test_any_file_is_read_or_refused(
    archive: bool,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    gathered: Any,
    damaged: Any,
    read_or_refused: Any,
    plausible: Any,
) -> None:
    stream = io.BytesIO()
    value = {"x": torch.arange(12.0).reshape(4, 3), "y": torch.arange(4)}
    torch.save(value, stream, _use_new_zipfile_serialization=archive)
    file = tmp_path_factory.mktemp("torch") / "x.pt"
    file.write_bytes(damaged(data, stream.getvalue()))
    plausible(read_or_refused(lambda: gathered(file), "x.pt"))
