"""A full or failing disk: refused in one line, and gone on from to the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from featurecache import FeatureCache, extract

OPERATIONS = ["create", "allocate", "write_at", "sync", "sync_folder", "rename"]


@pytest.mark.usefixtures("small_shards", "handles", "commit_each")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_full_disk_at_any_operation(
    operation: str, pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any, failing: Any
) -> None:
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
        final = {name: data for name, data in left.items() if name.endswith((".h5", ".json", ".safetensors"))}
        assert final.items() <= wanted.items()
        assert {Path(name).suffix for name in left.keys() - final.keys() if left[name]} <= {".part", ".journal"}
        run(path)
        assert tree(path) == wanted
        shutil.rmtree(path)


@pytest.mark.usefixtures("small_shards", "handles")
def test_a_disk_without_room_is_found_after_the_first_batch(
    pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any, failing: Any
) -> None:
    data = pictures(7)
    with pytest.raises(OSError, match="No space left"), failing("allocate", at=3):  # a file, its journal, a file
        extract(model, {"train": data}, tmp_path, batch_size=2)
    assert data.reads == [0, 1, 0, 1]  # to find the classifier, and as the first batch
    assert sorted(tree(tmp_path)) == ["cache.json", "head.safetensors"]


@pytest.mark.usefixtures("handles")
def test_a_disk_that_fails_while_it_flushes_is_not_asked_again(
    pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any, failing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After a failed flush the system has forgotten the pages: a second one would succeed and mean nothing.
    monkeypatch.setattr("featurecache.writer.COMMIT_BYTES", 1)
    extract(model, {"train": pictures(9)}, tmp_path / "whole", batch_size=2)
    with failing("sync", at=0) as calls:
        extract(model, {"train": pictures(9)}, tmp_path / "counted", batch_size=2)
    for at in range(1, calls[0] + 1):
        cache = tmp_path / str(at)
        with pytest.raises(OSError, match="No space left"), failing("sync", at) as asked:
            extract(model, {"train": pictures(9)}, cache, batch_size=2)
        assert asked == [at]
        extract(model, {"train": pictures(9)}, cache, batch_size=2)
        assert tree(cache) == tree(tmp_path / "whole")
        FeatureCache(cache, verify=True)
