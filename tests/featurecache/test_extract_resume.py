"""An extraction can be stopped anywhere, goes on to the same bytes, and computes nothing twice."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from featurecache import FeatureCache, extract

FIRST = 2  # rows that are read to prove which layer is the classifier: the first batch of the first split


def stopped(model: nn.Module, splits: dict[str, Any], cache: Path, **options: Any) -> None:
    """An extraction that is interrupted."""
    with pytest.raises(KeyboardInterrupt):
        extract(model, splits, cache, batch_size=2, **options)


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
    whole = tree(tmp_path / "whole")
    for stop in stops:
        stopped(model, {"train": pictures(7), "val": pictures(7, 1, breaks_at=stop)}, tmp_path / "c")
        left = tree(tmp_path / "c")
        finished = {name: data for name, data in left.items() if name.endswith((".h5", ".json", ".safetensors"))}
        assert finished.items() <= whole.items()
        assert {Path(name).suffix for name in left.keys() - finished.keys()} <= {".part", ".journal"}
        cache = FeatureCache(tmp_path / "c", verify=True)
        assert len(cache["train"].features) == 7  # finished, and usable
        with pytest.raises(ValueError, match="incomplete"):
            cache["val"]
    done = extract(model, {"train": pictures(7), "val": pictures(7, 1)}, tmp_path / "c", batch_size=2)
    assert done.kept == ["train"]
    assert tree(tmp_path / "c") == whole


@settings(max_examples=30)
@given(
    stops=st.lists(st.tuples(st.integers(FIRST, 10), st.integers(1, 3)), max_size=4),
    limit=st.sampled_from([1, 2**40]),
)
def test_stopped_anywhere_by_any_number_of_processes_each_batch_is_read_once(
    tmp_path_factory: pytest.TempPathFactory,
    pictures: Any,
    network: Any,
    tree: Any,
    stops: list[tuple[int, int]],
    limit: int,
) -> None:
    folder, model, reads = tmp_path_factory.mktemp("stops"), network(0), list[int]()

    def run(cache: Path, rank: int, world: int, stop: int | None = None) -> None:
        data = pictures(11, breaks_at=stop)
        with suppress(KeyboardInterrupt):
            extract(model, {"train": data}, cache, batch_size=2, rank=rank, world_size=world)
        broken_off = stop is not None and stop in data.reads
        reads.extend(data.reads[FIRST : -1 - stop % 2] if broken_off and stop is not None else data.reads[FIRST:])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featurecache.plan.SHARD_BYTES", limit)
        patch.setattr("featurecache.writer.COMMIT_BYTES", 0)
        patch.setattr("featurecache.disk.sync", lambda _: None)
        patch.setattr("featurecache.disk.sync_folder", lambda _: None)
        for stop, world in stops:
            for rank in range(world):
                run(folder / "c", rank, world, stop)
        run(folder / "c", 0, 1)
        assert sorted(reads) == list(range(11))
        files = FeatureCache(folder / "c").plan.splits["train"].shards
        for rank in range(files):
            run(folder / "whole", rank, files)
    assert FeatureCache(folder / "c", verify=True)["train"].index.tolist() == list(range(11))
    assert tree(folder / "c") == tree(folder / "whole")


@pytest.mark.usefixtures("commit_each")
def test_the_batches_of_a_damaged_file_are_computed_again(
    pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any
) -> None:
    extract(model, {"train": pictures(7)}, tmp_path / "whole", batch_size=2)
    stopped(model, {"train": pictures(7, breaks_at=6)}, tmp_path / "c")
    part = tmp_path / "c" / "train" / "00000.h5.part"
    whole, data = (tmp_path / "whole" / "train" / "00000.h5").read_bytes(), bytearray(part.read_bytes())
    features = whole.index(FeatureCache(tmp_path / "whole")["train"].features[2:4].tobytes())
    data[features] ^= 1  # of the second batch
    data[4096 + 50] ^= 1  # of the HDF5 structure
    part.write_bytes(data)
    again = pictures(7)
    extract(model, {"train": again}, tmp_path / "c", batch_size=2)
    assert again.reads[FIRST:] == [2, 3, 6]
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")


@pytest.mark.usefixtures("commit_each")
@pytest.mark.parametrize("records", [0, 1, 2])
def test_a_torn_journal_costs_the_batches_behind_the_tear(
    records: int, pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any
) -> None:
    extract(model, {"train": pictures(7)}, tmp_path / "whole", batch_size=2)
    stopped(model, {"train": pictures(7, breaks_at=6)}, tmp_path / "c")
    journal = tmp_path / "c" / "train" / "00000.h5.journal"
    os.truncate(journal, 20 + records * 32 + 9)
    again = pictures(7)
    extract(model, {"train": again}, tmp_path / "c", batch_size=2)
    assert again.reads[FIRST:] == list(range(2 * records, 7))
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")


def test_threads_are_those_it_was_begun_with(pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any) -> None:
    before, used = torch.get_num_threads(), list[int]()
    extract(model, {"train": pictures(7)}, tmp_path / "whole", batch_size=2)
    stopped(model, {"train": pictures(7, breaks_at=5)}, tmp_path / "c")
    hook = model[1].register_forward_hook(lambda *_: used.append(torch.get_num_threads()))
    torch.set_num_threads(before + 1)
    try:
        extract(model, {"train": pictures(7)}, tmp_path / "c", batch_size=2)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
        hook.remove()
    assert used[-2:] == [before] * 2
    assert tree(tmp_path / "c") == tree(tmp_path / "whole")


class Drawing:
    """A data set that draws at random: from every generator, for every row."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.labels, self.breaks_at = [i % 3 for i in range(9)], breaks_at

    def __len__(self) -> int:
        return 9

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        if row == self.breaks_at:
            raise KeyboardInterrupt

        noise = random.random() + np.random.rand()  # noqa: NPY002
        return torch.randn(3, 2, 2) + noise, self.labels[row]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # how torch starts its workers
def test_a_data_set_that_draws_at_random_gives_the_same_however_it_is_read(
    model: nn.Sequential, tmp_path: Path, tree: Any
) -> None:
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    extract(model, {"train": Drawing()}, tmp_path / "whole", batch_size=2)  # type: ignore[dict-item]
    whole = tree(tmp_path / "whole")
    # The caller's own generators have not moved.
    assert random.getstate() == states[0]
    assert [np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()] == states[1:]  # noqa: NPY002
    torch.manual_seed(99)
    extract(model, {"train": Drawing()}, tmp_path / "workers", batch_size=2, workers=2)  # type: ignore[dict-item]
    assert tree(tmp_path / "workers") == whole
    stopped(model, {"train": Drawing(breaks_at=5)}, tmp_path / "resumed")
    extract(model, {"train": Drawing()}, tmp_path / "resumed", batch_size=2)  # type: ignore[dict-item]
    assert tree(tmp_path / "resumed") == whole
    extract(model, {"train": Drawing()}, tmp_path / "seed", batch_size=2, seed=1)  # type: ignore[dict-item]
    features = [FeatureCache(tmp_path / name)["train"].features for name in ("whole", "seed")]
    assert (features[0] != features[1]).any(axis=1).all()
    assert FeatureCache(tmp_path / "whole").hash == FeatureCache(tmp_path / "seed").hash
