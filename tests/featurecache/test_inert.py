"""Objects beside the weights are never built, and written as they were."""

from __future__ import annotations

import argparse
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from featurecache.inert import INERT, Inert

VALUES = [
    argparse.Namespace(lr=0.1, sizes=[1, 2]),
    np.arange(6, dtype=np.int16).reshape(2, 3),
    np.asfortranarray(np.ones((2, 3))),
    np.array(["one", "zwölf"]),
    np.array([{"a": 1}, None], dtype=object),
    np.zeros(2, dtype=[("x", "<f4"), ("y", ">i8")]),
    np.float32(2.5),
    np.bool_(True),
    np.dtype("<U7"),
]


def read(data: bytes) -> Any:
    with torch.serialization.safe_globals(INERT):
        return torch.load(io.BytesIO(data), weights_only=True)


def written(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}")
def test_what_is_read_is_inert_and_what_is_written_again_is_real(value: Any) -> None:
    inert = read(written({"value": value}))["value"]
    assert isinstance(inert, Inert)
    real = torch.load(io.BytesIO(written(inert)), weights_only=False)
    assert type(real) is type(value)
    assert np.array_equal(real, value)
    assert getattr(real, "dtype", None) == getattr(value, "dtype", None)


def test_numpy_1_kept_its_functions_elsewhere() -> None:
    data = pickle.dumps({"value": np.arange(3)}, protocol=2).replace(b"numpy._core.", b"numpy.core.")
    with torch.serialization.safe_globals(INERT):
        root: Any = torch._weights_only_unpickler.load(io.BytesIO(data), encoding="utf-8")  # type: ignore[attr-defined]
    assert isinstance(root["value"], Inert)
    assert np.array_equal(pickle.loads(pickle.dumps(root["value"])), np.arange(3))


def test_a_forged_state_reaches_no_numpy_object() -> None:
    class Forged:
        """A dtype of Python objects whose flags deny it: NumPy would take the bytes of an array for pointers."""

        def __reduce__(self) -> Any:
            return np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)

    class Array:
        def __reduce__(self) -> Any:
            return np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, (1,), Forged(), False, b"\x41" * 8)

    inert = read(written({"value": Array()}))["value"]
    assert isinstance(inert, Inert)
    assert isinstance(inert.state[0][2], Inert)
