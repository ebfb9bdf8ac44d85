"""Blocks for a device: every row once, in order, the next block on its way, nothing left running."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache import FeatureCache, write
from featurecache.reading.feeding import Feed
from featurecache.reading.sharded import ShardedArray

N, D = 11, 2
FEATURES = np.arange(N * D, dtype=np.float16).reshape(N, D)
LABELS = np.arange(N)
CPU = torch.device("cpu")


class Told:
    """Keeps which rows were announced."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []

    def __call__(self, start: int, stop: int) -> None:
        self.rows.append((start, stop))


def feed(rows: int, told: Told, features: Any = FEATURES, device: torch.device = CPU) -> Feed:
    """A feed of blocks of so many rows."""
    return Feed(features, LABELS, rows, device, told)


@given(st.integers(1, N + 3))
def test_every_row_comes_once_and_in_order(rows: int) -> None:
    told = Told()
    blocks = list(feed(rows, told))
    assert [len(labels) for _, labels in blocks] == [min(rows, N - low) for low in range(0, N, rows)]
    assert torch.equal(torch.cat([features for features, _ in blocks]), torch.from_numpy(FEATURES))
    assert torch.cat([labels for _, labels in blocks]).tolist() == LABELS.tolist()
    assert told.rows == list(pairwise([*range(0, N, rows), N]))[1:]


def test_a_block_that_lies_in_one_file_is_no_copy() -> None:
    parts = [FEATURES[:5], FEATURES[5:]]
    blocks = [features.numpy() for features, _ in feed(4, Told(), ShardedArray(parts))]
    assert [any(np.shares_memory(block, part) for part in parts) for block in blocks] == [True, False, True]


def test_the_next_block_is_announced_before_this_one_is_handed_out() -> None:
    told = Told()
    blocks = iter(feed(4, told))
    assert told.rows == []
    for wanted in ([(4, 8)], [(4, 8), (8, 11)], [(4, 8), (8, 11)]):
        next(blocks)
        assert told.rows == wanted
    with pytest.raises(StopIteration):
        next(blocks)


def test_a_feed_may_be_begun_again() -> None:
    blocks = feed(4, Told())
    assert len(next(iter(blocks))[1]) == 4
    assert [len(labels) for _, labels in blocks] == [4, 4, 3]


class Event:
    """What torch.cuda.Event is to the feed: a copy has left its buffer once the event was waited for."""

    def __init__(self) -> None:
        self.pending = False

    def record(self) -> None:
        self.pending = True

    def synchronize(self) -> None:
        self.pending = False


class Buffered:
    """The CUDA path on the CPU: pinned memory is ordinary memory, a copy to the device is a view until it is waited
    for. What a block shows is therefore wrong as soon as its buffer is filled again too early."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.buffers = 0
        empty = torch.empty

        def pinned(*shape: Any, pin_memory: bool = False, **more: Any) -> torch.Tensor:
            assert pin_memory
            self.buffers += 1
            return empty(*shape, **more)

        class Device:
            def __init__(self, device: torch.device) -> None:
                assert device.type == "cpu"

            def __enter__(self) -> None: ...

            def __exit__(self, *error: object) -> None: ...

        patch.setattr("torch.empty", pinned)
        patch.setattr("torch.cuda.Event", Event)
        patch.setattr("torch.cuda.device", Device)


def pinned_blocks(rows: int, features: Any = FEATURES) -> Any:
    """The generator of the CUDA path."""
    return feed(rows, Told(), features)._pinned()


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 10, N, 50])
def test_two_buffers_carry_every_row(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    buffered = Buffered(monkeypatch)
    features, labels = [], []
    for block, classes in pinned_blocks(rows):
        features += block.tolist()
        labels += classes.tolist()
    assert features == FEATURES.tolist()
    assert labels == LABELS.tolist()
    assert buffered.buffers == (2 if rows >= N else 4)


def test_a_buffer_is_filled_again_only_when_its_copy_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    Buffered(monkeypatch)
    waited: list[int] = []
    events: list[Event] = []

    class Watched(Event):
        def __init__(self) -> None:
            super().__init__()
            events.append(self)

        def synchronize(self) -> None:
            waited.append(events.index(self))
            super().synchronize()

    monkeypatch.setattr("torch.cuda.Event", Watched)
    filled: list[bool] = []

    class Rows(np.ndarray[Any, Any]):
        def __getitem__(self, rows: Any) -> Any:
            if isinstance(rows, slice):
                filled.append(events[waited[-1]].pending)
            return super().__getitem__(rows)

    blocks = list(pinned_blocks(2, FEATURES.view(Rows)))
    assert len(blocks) == 6
    assert waited == [0, 1, 0, 1, 0, 1]
    assert filled == [False] * 6


def threads() -> set[str]:
    """The names of the threads that run."""
    return {thread.name for thread in threading.enumerate()}


def test_stopping_early_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    Buffered(monkeypatch)
    before = threads()
    blocks = pinned_blocks(2)
    next(blocks)
    assert len(threads() - before) == 1
    blocks.close()
    assert threads() == before


def test_an_error_while_a_block_is_read_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    Buffered(monkeypatch)
    before = threads()

    class Broken(np.ndarray[Any, Any]):
        def __getitem__(self, rows: Any) -> Any:
            if isinstance(rows, slice) and rows.start == 4:
                raise ValueError("row 4 is bad")
            return super().__getitem__(rows)

    blocks = pinned_blocks(2, FEATURES.view(Broken))
    for _ in range(2):
        next(blocks)
    with pytest.raises(ValueError, match="row 4 is bad"):
        next(blocks)
    assert threads() == before


@pytest.mark.cuda
@pytest.mark.parametrize("rows", [7, 64, 1000])
def test_blocks_on_a_gpu(rows: int, tmp_path: Path) -> None:
    count = 1000
    values = np.random.default_rng(0).normal(size=(count, 300)).astype(np.float16)
    write(tmp_path, "train", values, np.arange(count) % 9)
    split = FeatureCache(tmp_path)["train"]
    before = threads()
    kept = list(split.blocks(rows, "cuda"))  # all at once: a buffer that is filled too early shows in an earlier block
    assert {features.device.type for features, _ in kept} == {"cuda"}
    assert torch.equal(torch.cat([features for features, _ in kept]).cpu(), torch.from_numpy(values))
    assert torch.cat([labels for _, labels in kept]).tolist() == (np.arange(count) % 9).tolist()
    stopped = split.blocks(rows, "cuda")
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]  # a generator
    assert threads() == before
