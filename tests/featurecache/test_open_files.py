"""More files at once than a process may open by default: the limit is raised, or refused in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from featurecache import FeatureCache, write
from featurecache.open_files import SPARE, room_for

resource = pytest.importorskip("resource")


@pytest.fixture
def few() -> Iterator[int]:
    """This process may open few more files, by its own limit; the limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = len(os.listdir("/dev/fd")) + SPARE
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_own_limit_is_raised_as_far_as_is_needed(few: int) -> None:
    room_for(0, "a cache")
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= few + 2  # looking takes a file itself
    room_for(100, "a cache")
    assert few + 100 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= few + 110
    handles = [os.open(os.devnull, os.O_RDONLY) for _ in range(100 + SPARE - 5)]
    for handle in handles:
        os.close(handle)


def test_enough_changes_nothing() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    room_for(1, "a cache")
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_more_than_the_system_allows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 200))
    with pytest.raises(ValueError, match=r"photos/train: 1000 files .* may open 200 in all") as caught:
        room_for(1000, "photos/train")
    assert "\n" not in str(caught.value)


def test_a_cache_of_more_files_than_may_be_open_is_read(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurecache.writing.table.BLOCK_ROWS", 2)
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 40)
    features = np.arange(4 * (few + 20), dtype=np.float32).reshape(-1, 2)  # two rows a file, of two numbers
    write(tmp_path / "c", "train", features, np.zeros(len(features), dtype=np.int64))
    split = FeatureCache(tmp_path / "c")["train"]
    assert len(split.shards) > few
    assert np.array_equal(split.features[:], features.astype(split.features.dtype))
