"""An extraction can be stopped anywhere, goes on to the same bytes, and is never mixed with another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from featurecache import FeatureCache, extract

K = 3  # classes of the network


def plain(data: Any) -> TensorDataset:
    """The same pictures as a data set without names."""
    return TensorDataset(data.inputs, torch.tensor(data.labels))


def test_a_second_run_changes_nothing(pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any) -> None:
    splits = {"train": pictures(7), "val": pictures(3)}
    extract(model, splits, tmp_path)
    before, times = tree(tmp_path), {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    done = extract(model, splits, tmp_path)
    assert (done.written, done.kept) == ({}, ["train", "val"])
    assert tree(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")} == times


def test_a_split_can_be_added_later(pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any) -> None:
    extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path / "at once")
    extract(model, {"train": pictures(7)}, tmp_path / "later")
    done = extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path / "later")
    assert (done.written, done.kept) == ({"val": 3}, ["train"])
    assert tree(tmp_path / "later") == tree(tmp_path / "at once")


@pytest.mark.parametrize("shards", ["one shard", "several"])
@pytest.mark.parametrize("stops", [[0], [5], [3, 6, 6], [1, 4, 6]], ids=str)
def test_a_stopped_extraction_goes_on_to_the_same_bytes(
    pictures: Any,
    shards: str,
    stops: list[int],
    model: nn.Sequential,
    tmp_path: Path,
    tree: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if shards == "several":
        monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 1)
    extract(model, {"train": pictures(7), "val": pictures(7, 1)}, tmp_path / "whole", batch_size=2)
    for stop in stops:
        stopping = pictures(7, 1, breaks_at=stop)
        with pytest.raises(KeyboardInterrupt):
            extract(model, {"train": pictures(7), "val": stopping}, tmp_path / "c", batch_size=2)
        left = tree(tmp_path / "c")
        assert not [name for name in left if name.endswith(".part")]
        assert left.items() <= tree(tmp_path / "whole").items()
        cache = FeatureCache(tmp_path / "c")
        assert len(cache["train"].features) == 7  # finished, and usable
        with pytest.raises(ValueError, match="incomplete"):
            cache["val"]
    done = extract(model, {"train": pictures(7), "val": pictures(7, 1)}, tmp_path / "c", batch_size=2)
    assert done.kept == ["train"]
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")


@pytest.mark.parametrize("operation", ["allocate", "write_at", "publish", "flush"])
def test_a_fault_at_any_operation(
    operation: str, pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any, failing: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 1)

    def run(path: Path) -> None:
        extract(model, {"train": pictures(3), "val": pictures(2)}, path, batch_size=2)

    with failing(operation, at=0) as calls:
        run(tmp_path / "whole")
    wanted = tree(tmp_path / "whole")
    assert calls[0] >= 3
    for at in range(1, calls[0] + 1):
        path = tmp_path / str(at)
        with pytest.raises(OSError, match="No space left on device"), failing(operation, at):
            run(path)
        left = tree(path)
        assert {name: data for name, data in left.items() if data}.items() <= wanted.items()
        run(path)
        assert tree(path) == wanted


def relabelled(data: Any) -> Any:
    """The same pictures, one with another label."""
    data.labels[3] = (data.labels[3] + 1) % K
    return data


def renamed(data: Any) -> Any:
    """The same pictures, one with another name."""
    data.sample_ids[3] = "other.png"
    return data


Change = Callable[[Any, Any], dict[str, Any]]  # from the classes of pictures and networks to other arguments
OTHERS: dict[str, tuple[Change, list[str]]] = {
    "model": (lambda pictures, network: {"model": network(1)}, ["weights"]),
    "dtype": (lambda pictures, network: {"dtype": "float32"}, ["features dtype", "float16", "float32"]),
    "logits": (lambda pictures, network: {"logits": False}, ["logits", "float32", "none"]),
    "transform": (lambda pictures, network: {"transform": "crop"}, ["transform", "crop"]),
    "name": (lambda pictures, network: {"model_name": "other"}, ["model", "other"]),
    "class names": (lambda pictures, network: {"class_names": ["x", "y", "z"]}, ["class names", "x"]),
    "rows": (lambda pictures, network: {"splits": {"train": pictures(8)}}, ["'train'", "rows", "7", "8"]),
    "labels": (lambda pictures, network: {"splits": {"train": relabelled(pictures(7))}}, ["'train'", "data"]),
    "ids": (lambda pictures, network: {"splits": {"train": renamed(pictures(7))}}, ["'train'", "data"]),
    "a plain data set": (lambda pictures, network: {"splits": {"train": plain(pictures(7))}}, []),
}


@pytest.mark.parametrize(("change", "parts"), OTHERS.values(), ids=OTHERS.keys())
def test_another_extraction_is_refused(
    pictures: Any,
    change: Change,
    parts: list[str],
    network: Any,
    model: nn.Sequential,
    tmp_path: Path,
    refused: Any,
    tree: Any,
) -> None:
    same: dict[str, Any] = {"model": model, "splits": {"train": pictures(7)}, "path": tmp_path, "batch_size": 2}
    extract(**same)
    before = tree(tmp_path)
    with refused(str(tmp_path), *parts):
        extract(**{**same, **change(pictures, network)})
    assert tree(tmp_path) == before


def test_the_batch_size_of_an_unfinished_split_is_kept(
    pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 1)  # so that something of it is finished
    with pytest.raises(KeyboardInterrupt):
        extract(model, {"train": pictures(7, breaks_at=5)}, tmp_path, batch_size=2)
    with refused("'train'", "--batch-size 2", "3"):
        extract(model, {"train": pictures(7)}, tmp_path, batch_size=3)
    extract(model, {"train": pictures(7)}, tmp_path, batch_size=2)
    assert extract(model, {"train": pictures(7)}, tmp_path, batch_size=3).kept == ["train"]


def test_an_overflow_can_be_cured_as_its_message_says(
    pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any
) -> None:
    data = pictures(7)
    data.inputs[3] *= 1e6
    with refused(repr(data.sample_ids[3]), "too large for float16", "--dtype float32"):
        extract(model, {"train": data}, tmp_path, batch_size=2)
    extract(model, {"train": data}, tmp_path, batch_size=2, dtype="float32")
    assert float(np.max(FeatureCache(tmp_path)["train"].features)) > 65_504
