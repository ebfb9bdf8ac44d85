"""What the tests of the cache share: refusals, files as bytes, faults, shards, a model and pictures."""

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

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from featurecache import disk, layout
from featurecache.plan import CachePlan, SplitPlan
from featurecache.writer import ShardWriter

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
    """Changes the header of a shard and repairs its length and checksum; the user block keeps its size."""

    def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        data = bytearray(file.read_bytes())
        signature = b"\x89HDF\r\n\x1a\n"  # at the end of the user block
        room = next((size for size in (2**n for n in range(12, 27)) if data[size : size + 8] == signature), 4096)
        length = struct.unpack_from("<I", data, 8)[0]
        header = json.loads(data[16 : 16 + length])
        change(header)
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert 16 + len(text) <= room, "the edited header must fit into the user block"
        data[:room] = (struct.pack("<8sII", b"FCSHARD\n", len(text), zlib.crc32(text)) + text).ljust(room, b"\0")
        file.write_bytes(data)

    return edit


WIDTH, CLASSES = 5, 3  # of the network


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Random pictures with names and labels; `breaks_at` raises when that one is asked for, `reads` is what was."""

    def __init__(self, rows: int, seed: int = 0, breaks_at: int | None = None) -> None:
        self.inputs = torch.randn(rows, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
        self.labels = [i % CLASSES for i in range(rows)]
        self.sample_ids = [f"bild-ä-{seed}/{i}.png" for i in range(rows)]
        self.class_names = ["cat", "dog", "wolf"]
        self.breaks_at = breaks_at
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        self.reads.append(row)
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


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of one batch."""
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 1)


@pytest.fixture
def commit_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block is committed when it is written."""
    monkeypatch.setattr("featurecache.writer.COMMIT_BYTES", 0)


@pytest.fixture
def handles() -> Iterator[None]:
    """No file is left open."""
    folder = Path("/proc/self/fd")
    before = len(os.listdir(folder)) if folder.exists() else 0
    yield
    if before:
        assert len(os.listdir(folder)) <= before


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, ...]]]:
    """The calls of some file operations: `watched("sync", …)` is a list of their names and their files' names."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("the names of open files come from /proc")
    done: list[tuple[str, ...]] = []

    def watch(operation: str) -> None:
        real = getattr(disk, operation)

        def call(*given: Any) -> Any:
            files = [
                Path(os.readlink(f"/proc/self/fd/{item}")) if isinstance(item, int) else item for item in given[:1]
            ]
            done.append((operation, *(file.name for file in (*files, *given[1:]) if isinstance(file, Path))))
            return real(*given)

        monkeypatch.setattr(disk, operation, call)

    def begin(*operations: str) -> list[tuple[str, ...]]:
        for operation in operations:
            watch(operation)
        return done

    return begin


class _Sample:
    """A shard of three rows in blocks of two."""

    def __init__(self) -> None:
        split = SplitPlan(3, 2, (0, 3), True)
        self.plan = CachePlan({"source": "arrays"}, 4, ("a", "b", "c", "é")).with_split("train", split)
        self.columns = layout.columns(3, 2, dtype="float16", classes=4, id_bytes=5, block=2)
        self.values: dict[str, NDArray[Any]] = {
            "features": np.array([[1, -2], [0.5, 65504], [0, -0.0]], np.float16),
            "logits": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
            "labels": np.array([3, -1, 0]),
            "index": np.arange(3),
            "sample_id": np.array(["é1".encode(), b"", b"12345"]),
            "status": np.array([0, 0, 1], np.uint8),
        }

    def block(self, number: int) -> dict[str, NDArray[Any]]:
        """The values of a block."""
        return {name: values[2 * number : 2 * number + 2] for name, values in self.values.items()}

    def writer(self, cache: Path, *, resume: bool = True) -> ShardWriter:
        """The writer of the shard."""
        return ShardWriter(cache, self.plan, "train", 0, self.columns, resume=resume)

    def save(self, cache: Path, *, resume: bool = True) -> Path:
        """The finished file."""
        with self.writer(cache, resume=resume) as writer:
            for number in writer.missing:
                writer.write(number, self.block(number))
            writer.finish()
        return cache / "train" / "00000.h5"


@pytest.fixture(scope="session")
def sample() -> _Sample:
    """A small shard: its plan, columns and values."""
    return _Sample()


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
