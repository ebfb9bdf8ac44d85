"""What the tests of the cache share: refusals, files as bytes, faults, shard headers to edit, a model and pictures."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from featurecache import disk

Refused: TypeAlias = Callable[..., AbstractContextManager[None]]
Tree: TypeAlias = Callable[[Path], dict[str, bytes]]
Failing: TypeAlias = Callable[..., AbstractContextManager[list[int]]]
EditHeader: TypeAlias = Callable[[Path, Callable[[dict[str, Any]], Any]], None]

LONGEST = 800  # characters of a message beside the paths in it: what fits on a screen


def _check(error: Exception, parts: tuple[str, ...]) -> None:
    message = str(error)
    assert message
    assert message.splitlines() == [message], "a refusal is one line"
    assert len(message) < LONGEST
    assert not isinstance(error, UnicodeError), "a refusal says which thing is wrong"
    for part in parts:
        assert part in message, f"{part!r} is not in {message!r}"


@contextmanager
def _refused(*parts: str, error: type[Exception] = ValueError) -> Iterator[None]:
    with pytest.raises(error) as caught:
        yield
    _check(caught.value, parts)


@pytest.fixture(scope="session")
def refused() -> Refused:
    """Expects an error of one line that holds all the parts; ValueError unless `error` says otherwise."""
    return _refused


@pytest.fixture(scope="session")
def read_or_refused() -> Callable[..., Any]:
    """What `read` returns, or None where it refuses with a ValueError of one line that holds all the parts."""

    def attempt(read: Callable[[], Any], *parts: str) -> Any:
        try:
            return read()
        except ValueError as error:
            refusal = error
        _check(refusal, parts)
        return None

    return attempt


@pytest.fixture(scope="session")
def tree() -> Tree:
    """Every file under a folder as bytes, by its relative path; empty folders end in a slash."""

    def read(folder: Path) -> dict[str, bytes]:
        found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
        files = {name: path.read_bytes() for name, path in found.items() if path.is_file()}
        empty = {f"{name}/": b"" for name, path in found.items() if path.is_dir() and not any(path.iterdir())}
        return files | empty

    return read


@pytest.fixture(scope="session")
def edit_header() -> EditHeader:
    """Changes the header of a shard and repairs its length and checksum."""

    def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        data = bytearray(file.read_bytes())
        length = struct.unpack_from("<I", data, 8)[0]
        header = json.loads(data[16 : 16 + length])
        change(header)
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert 16 + len(text) <= 4096, "the edited header must fit into the smallest user block"
        data[:4096] = (struct.pack("<8sII", b"FCSHARD\n", len(text), zlib.crc32(text)) + text).ljust(4096, b"\0")
        file.write_bytes(data)

    return edit


WIDTH, CLASSES = 5, 3  # of the network


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Random pictures with names and labels; `breaks_at` raises when that one is asked for."""

    def __init__(self, rows: int, seed: int = 0, breaks_at: int | None = None) -> None:
        self.inputs = torch.randn(rows, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
        self.labels = [i % CLASSES for i in range(rows)]
        self.sample_ids = [f"bild-ä-{seed}/{i}.png" for i in range(rows)]
        self.class_names = ["cat", "dog", "wolf"]
        self.breaks_at = breaks_at

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        if row == self.breaks_at:
            raise KeyboardInterrupt
        return self.inputs[row], self.labels[row]


def _network(seed: int = 0) -> nn.Sequential:
    """A classifier of 5 features and 3 classes whose layers behave otherwise in training."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(0.5), nn.Linear(WIDTH, CLASSES)
    )


@pytest.fixture(scope="session")
def pictures() -> type[_Pictures]:
    """A data set: `pictures(rows, seed, breaks_at)`."""
    return _Pictures


@pytest.fixture(scope="session")
def network() -> Callable[[int], nn.Sequential]:
    """A model: `network(seed)`."""
    return _network


@pytest.fixture
def model() -> nn.Sequential:
    """The network of seed 0."""
    return _network()


@contextmanager
def _failing(operation: str, at: int, sticky: bool = False) -> Iterator[list[int]]:
    calls = [0]
    real = getattr(disk, operation)

    def fault(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] == at or (sticky and calls[0] > at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, operation, fault)
        yield calls


@pytest.fixture(scope="session")
def failing() -> Failing:
    """The disk is full when a file operation is called for the n-th time (and, if sticky, ever after).

    The block gets a list that holds the number of calls.
    """
    return _failing
