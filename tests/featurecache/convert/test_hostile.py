"""Hostile HDF5 files: refused in one line, at once, and no other file is opened; odd but harmless ones are read."""

from __future__ import annotations

import runpy
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from featurecache.convert import convert_in

HERE = Path(__file__).parent
FILES = runpy.run_path(str(HERE / "hostile_files.py"))
UNOPENED = runpy.run_path(str(HERE / "canary.py"))["unopened"]
CASES: dict[str, tuple[Any, ...]] = FILES["CASES"]
SECONDS = 10.0  # for a case; the slowest takes one on a free machine


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, tuple[str, ...], Path]:
    """(file, what the refusal says, path of the canary)."""
    build, *says = CASES[request.param]
    file, canary = tmp_path / "foreign.h5", tmp_path / "canary"
    build(file, canary)
    return file, tuple(says), canary


@pytest.fixture
def watched(case: tuple[Path, tuple[str, ...], Path]) -> Iterator[threading.Event]:
    """Set when somebody opens the canary."""
    with UNOPENED(case[2]) as opened:
        yield opened


def test_convert_refuses_it_or_reads_what_it_holds(case: Any, watched: threading.Event, refused: Any) -> None:
    file, says, _ = case
    cache, start = file.with_name("new.cache"), time.monotonic()
    if says:
        with refused(*says):
            convert_in(file, cache, "train")
        assert not list(cache.rglob("*.h5"))
    else:
        convert_in(file, cache, "train")
        split = FeatureCache(cache)["train"]
        np.testing.assert_array_equal(split.features, FILES["FEATURES"])
        np.testing.assert_array_equal(split.labels, FILES["LABELS"])
    assert not watched.is_set()
    assert time.monotonic() - start < SECONDS


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of one shard."""
    cache = tmp_path_factory.mktemp("honest") / "a.cache"
    write(cache, "train", torch.zeros(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
    return cache


def test_the_reader_refuses_it_in_the_place_of_a_shard(case: Any, watched: threading.Event, honest: Path) -> None:
    file, _, _ = case
    cache = file.with_name("a.cache")
    shutil.copytree(honest, cache)
    shard = cache / "train" / "00000.h5"
    shard.unlink()
    file.rename(shard)
    start = time.monotonic()
    with pytest.raises((ValueError, OSError)) as caught:
        _ = FeatureCache(cache)["train"]
    assert str(shard) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not watched.is_set()
    assert time.monotonic() - start < 1


def test_the_watch_sees_the_library_follow_a_link(tmp_path: Path) -> None:
    file, canary = tmp_path / "foreign.h5", tmp_path / "canary"
    CASES["features linked to another file"][0](file, canary)
    with UNOPENED(canary) as opened, h5py.File(file) as there:
        with pytest.raises((OSError, KeyError)):
            _ = there["features"]
        assert opened.wait(5)
