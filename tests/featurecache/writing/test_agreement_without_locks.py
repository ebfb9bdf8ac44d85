"""On a disk without locks, processes that plan at the same time do not take each other's files."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from featurecache import disk
from featurecache.plan import CachePlan, SplitPlan
from featurecache.storage import head_digest
from featurecache.writing.agreement import agree

HEAD = (torch.arange(8.0).reshape(4, 2), torch.zeros(4))
SPLIT = SplitPlan(3, 2, (0, 3), True)
PLAN = CachePlan({"source": "extract", "head": head_digest(*HEAD), "logits": "float32"}, 4).with_split("train", SPLIT)


def test_without_locks_ranks_do_not_take_each_others_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    real = disk.rename
    monkeypatch.setattr(disk, "rename", lambda old, new: (time.sleep(0.005), real(old, new)))
    errors: list[BaseException] = []

    def rank() -> None:
        try:
            assert agree(tmp_path / "c", PLAN, HEAD) == PLAN
        except BaseException as error:
            errors.append(error)

    ranks = [threading.Thread(target=rank) for _ in range(8)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    assert errors == []
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["cache.json", "head.safetensors"]
