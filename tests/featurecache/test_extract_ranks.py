"""Several processes share an extraction without talking to each other: no row twice, none missing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from featurecache import FeatureCache, extract
from featurecache.plan import read_plan
from featurecache.shards.lock import BeingWritten


def run(model: nn.Module, splits: dict[str, Any], cache: Path, rank: int, world: int, **options: Any) -> Any:
    """The share of one process."""
    return extract(model, splits, cache, batch_size=2, rank=rank, world_size=world, **options)


@pytest.mark.parametrize("limit", [1, 2**40])
@pytest.mark.parametrize("order", [*permutations(range(2)), *permutations(range(3)), (5, 0, 3, 1, 4, 2)], ids=str)
def test_any_number_of_processes_in_any_order_makes_the_same_rows(
    order: tuple[int, ...],
    limit: int,
    pictures: Any,
    model: nn.Sequential,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", limit)
    world, reads = len(order), list[int]()
    extract(model, {"train": pictures(11), "val": pictures(3, 1)}, tmp_path / "one", batch_size=2)
    for rank in order:
        splits = {"train": pictures(11), "val": pictures(3, 1)}
        done = run(model, splits, tmp_path / "c", rank, world)
        assert set(done.written) | set(done.kept) <= {"train", "val"}
        reads += splits["train"].reads[2:]  # behind those that prove which layer is the classifier
    assert sorted(reads) == list(range(11))
    assert done.unfinished == {}
    one, many = (FeatureCache(tmp_path / name, verify=True) for name in ("one", "c"))
    for split in ("train", "val"):
        assert many[split].index.tolist() == list(range(len(one[split])))
        for column in ("features", "logits", "labels", "sample_id", "status"):
            assert many[split].read(column).tolist() == one[split].read(column).tolist()
    assert many.plan.splits["train"].shards == (6 if limit == 1 else world)


def test_what_is_left_to_others_is_said(pictures: Any, model: nn.Sequential, tmp_path: Path) -> None:
    done = run(model, {"train": pictures(11), "val": pictures(3)}, tmp_path, 1, 3)
    assert done.written == {"train": 4, "val": 1}
    assert done.unfinished == {"train": 2, "val": 1}
    assert done.kept == []
    done = run(model, {"train": pictures(11), "val": pictures(3)}, tmp_path, 0, 3)
    assert done.unfinished == {"train": 1}


def test_the_first_process_fixes_the_bounds(pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any) -> None:
    run(model, {"train": pictures(11)}, tmp_path / "c", 0, 3)
    bounds = read_plan(tmp_path / "c").splits["train"].bounds
    assert len(bounds) == 4
    for rank in (1, 0):  # two go on, and each does what is left of its share
        run(model, {"train": pictures(11)}, tmp_path / "c", rank, 2)
    assert read_plan(tmp_path / "c").splits["train"].bounds == bounds
    for rank in range(3):
        run(model, {"train": pictures(11)}, tmp_path / "whole", rank, 3)
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")


@pytest.mark.usefixtures("commit_each")
@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_process_that_stopped_is_gone_on_with_by_others(
    world: int, pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any
) -> None:
    for rank in range(3):
        run(model, {"train": pictures(17)}, tmp_path / "whole", rank, 3)
    reads = []
    for rank, stop in ((2, 16), (0, None)):  # the third stops in its last batch, the second never comes
        data = pictures(17, breaks_at=stop)
        try:
            run(model, {"train": data}, tmp_path / "c", rank, 3)
        except KeyboardInterrupt:
            data.reads.remove(16)
        reads += data.reads[2:]
    for rank in range(world):
        data = pictures(17)
        run(model, {"train": data}, tmp_path / "c", rank, world)
        reads += data.reads[2:]
    assert sorted(reads) == list(range(17))
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")


def test_processes_with_other_options_are_refused(
    pictures: Any, network: Any, tmp_path: Path, refused: Any, tree: Any
) -> None:
    run(network(0), {"train": pictures(11)}, tmp_path, 0, 2)
    before = tree(tmp_path)
    with refused("weights"):
        run(network(1), {"train": pictures(11)}, tmp_path, 1, 2)
    with refused("features dtype"):
        run(network(0), {"train": pictures(11)}, tmp_path, 1, 2, dtype="float32")
    with refused("'train'", "seed 0", "now 3"):
        run(network(0), {"train": pictures(11)}, tmp_path, 1, 2, seed=3)
    with refused("'train'", "rows: 11, now 10"):
        run(network(0), {"train": pictures(10)}, tmp_path, 1, 2)
    assert tree(tmp_path) == before
    run(network(0), {"train": pictures(11)}, tmp_path, 1, 2)
    assert len(FeatureCache(tmp_path, verify=True)["train"]) == 11


def test_all_at_once_make_one_cache(pictures: Any, network: Any, tmp_path: Path, tree: Any) -> None:
    # Threads stand for processes where nothing of torch's is shared: a model and a data set each.
    barrier, errors = threading.Barrier(4), list[BaseException]()
    models = [network(0) for _ in range(4)]

    def work(rank: int) -> None:
        try:
            barrier.wait()
            run(models[rank], {"train": pictures(29)}, tmp_path / "c", rank, 4)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for rank in range(4):
        run(network(0), {"train": pictures(29)}, tmp_path / "whole", rank, 4)
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")


def test_without_locks_the_shares_keep_processes_apart(
    pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in range(2):
        run(model, {"train": pictures(7)}, tmp_path / "whole", rank, 2)

    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    for rank in (1, 0):
        run(model, {"train": pictures(7)}, tmp_path / "c", rank, 2)
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")


SLOW = """
import json, sys, time
import torch
from torch.utils.data import Dataset
from featurecache import extract

class Rows(Dataset):
    labels = [0, 1, 2, 0, 1, 2, 0]
    def __len__(self):
        return 7
    def __getitem__(self, row):
        if row == 4:
            print("begun", flush=True)
            time.sleep(60)
        return torch.ones(3, 2, 2) * row, self.labels[row]

torch.manual_seed(0)
extract(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)), {"train": Rows()}, sys.argv[1], batch_size=2)
"""


def test_a_second_run_is_told_at_once_who_holds_the_file_and_goes_on_when_it_is_killed(
    tmp_path: Path, pictures: Any, model: nn.Sequential, refused: Any
) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path / "c")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "begun\n"
            lock = tmp_path / "c" / "train" / "00000.h5.lock"
            for _ in range(500):  # rows are loaded ahead of the file they go into
                if lock.exists() and lock.read_bytes().endswith(b"}"):
                    break
                time.sleep(0.01)
            holder_says = json.loads(lock.read_bytes())
            assert holder_says["pid"] == holder.pid
            began = time.monotonic()
            with refused("00000.h5", f"process {holder.pid} on {holder_says['host']}", error=BeingWritten):
                extract(model, {"train": pictures(7)}, tmp_path / "c", batch_size=2)
            assert time.monotonic() - began < 1
        finally:
            holder.kill()
    # The holder is gone, and had committed nothing yet of its other model's rows.
    extract(model, {"train": pictures(7)}, tmp_path / "c", batch_size=2)
    assert FeatureCache(tmp_path / "c", verify=True)["train"].sample_id.tolist() == pictures(7).sample_ids
