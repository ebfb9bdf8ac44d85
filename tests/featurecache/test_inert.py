"""Objects beside the weights are never built, and written as they were."""

from __future__ import annotations

import argparse
import functools
import io
import os
import pickle
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache.inert import INERT, Inert, building_only

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


class Payload:
    """Whatever a program of the user's allows PyTorch to build."""


@pytest.fixture
def allowed() -> Iterator[None]:
    """A program that trusts its own files with more."""
    torch.serialization.add_safe_globals([Payload, argparse.Namespace, np.dtype])
    yield
    torch.serialization.clear_safe_globals()


@pytest.mark.usefixtures("allowed")
def test_what_a_program_allows_for_itself_is_not_built_from_a_strangers_file() -> None:
    before = set(torch.serialization.get_safe_globals())
    data = written({"options": argparse.Namespace(a=argparse.Namespace(b=1)), "kind": np.dtype("f4")})
    with building_only(INERT):
        found = torch.load(io.BytesIO(data), weights_only=True)
    assert isinstance(found["options"], Inert)
    assert isinstance(found["options"].state[0]["a"], Inert)
    assert isinstance(found["kind"], Inert)
    for named in (INERT, ()):
        with building_only(named), pytest.raises(pickle.UnpicklingError, match="Payload"):
            torch.load(io.BytesIO(written({"x": Payload()})), weights_only=True)
    with building_only(()), pytest.raises(pickle.UnpicklingError, match=r"argparse\.Namespace"):
        torch.load(io.BytesIO(data), weights_only=True)
    assert set(torch.serialization.get_safe_globals()) == before
    assert isinstance(torch.load(io.BytesIO(written(Payload())), weights_only=True), Payload)


def test_two_threads_read_at_once() -> None:
    data = written({"x": np.ones(3), "y": argparse.Namespace(a=1)})

    def load(_: int) -> bool:
        with building_only(INERT):
            found = torch.load(io.BytesIO(data), weights_only=True)
        return isinstance(found["x"], Inert) and isinstance(found["y"], Inert)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(load, range(40)))
    assert torch.serialization.get_safe_globals() == []


@pytest.mark.parametrize(
    "value",
    [
        *(np.ma.masked_array([1], [True]), np.random.RandomState(0), Path("x")),
        *(functools.partial(print), os.system, np.load, np.frombuffer, defaultdict(list), torch.Generator()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_else_is_refused_by_name(value: Any) -> None:
    for nested in (value, argparse.Namespace(a=argparse.Namespace(b=value)), np.array([value, None], dtype=object)):
        with building_only(INERT), pytest.raises(pickle.UnpicklingError, match="GLOBAL"):
            torch.load(io.BytesIO(written({"value": nested})), weights_only=True)


def test_no_state_reaches_the_object_that_stands_for_another() -> None:
    class Forged:
        """Options with the names of what Inert itself has."""

        def __reduce__(self) -> Any:
            return argparse.Namespace, (), {"given": (1,), "state": 2, "real": 3, "__class__": 4, "__reduce__": 5}

    inert = read(written({"value": Forged()}))["value"]
    assert type(inert).__reduce__ is Inert.__reduce__
    assert (inert.real, inert.given) == (argparse.Namespace, ())
    assert inert.state[0].keys() == {"given", "state", "real", "__class__", "__reduce__"}
    assert vars(inert).keys() == {"given", "state"}


def test_an_array_that_claims_more_than_there_is_takes_no_memory() -> None:
    class Huge:
        """An array of terabytes."""

        def __reduce__(self) -> Any:
            return np.ndarray, ((2**42,),)

    inert = read(written({"value": Huge()}))["value"]
    assert isinstance(inert, Inert)
    assert inert.given == ((2**42,),)
