"""Truncated and mutated checkpoints are read or refused; nothing else happens."""

from __future__ import annotations

import argparse
import io
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from featurecache.weights_file import read_weights

STATE = nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(4), fc=nn.Linear(4, 3))).state_dict()


def checkpoint(kind: str) -> bytes:
    """A good checkpoint's bytes."""
    if kind == "safetensors":
        return save(dict(STATE))
    stream = io.BytesIO()
    if kind == "training":
        root = {"model": STATE, "model_ema": STATE, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5)}
        torch.save({**root, "curve": np.ones((2, 3))}, stream)
        return stream.getvalue()
    torch.save(STATE, stream, _use_new_zipfile_serialization=kind == "zip")
    return stream.getvalue()


@given(kind=st.sampled_from(["zip", "legacy", "training", "safetensors"]), cut=st.floats(0, 0.999))
def test_truncated_files_are_refused(tmp_path_factory: pytest.TempPathFactory, kind: str, cut: float) -> None:
    data = checkpoint(kind)
    path = tmp_path_factory.mktemp("cut") / ("w.safetensors" if kind == "safetensors" else "w.pt")
    path.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(ValueError, match=r"^checkpoint '.*': ") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@given(
    kind=st.sampled_from(["zip", "legacy", "training", "safetensors"]),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_mutated_files_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(checkpoint(kind))
    for where, byte in changes:
        data[int(where * len(data))] = byte
    path = tmp_path_factory.mktemp("mutated") / ("w.safetensors" if kind == "safetensors" else "w.pt")
    path.write_bytes(data)
    said = ""
    try:
        values = list(read_weights(path).state().values())
    except ValueError as error:
        values, said = [], str(error)
    assert "\n" not in said
    assert all(torch.isfinite(value.double()).all() for value in values)
