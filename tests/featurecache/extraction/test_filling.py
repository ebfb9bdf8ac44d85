"""In which order files are filled: one batch, room for all, then the missing batches, each computed once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurecache import layout
from featurecache.extraction.ahead import Clock
from featurecache.extraction.filling import fill, tidy_split
from featurecache.plan import CachePlan, SplitPlan, missing_shards
from featurecache.writer import ShardWriter
from featurecache.writing.agreement import agree, check_agreed


class Numbers:
    """In the place of a pass of a model: rows of numbers, and a list of the (shard, block) that were computed."""

    def __init__(self, plan: CachePlan, name: str, watch: Callable[[int, int], None] | None = None) -> None:
        self.plan, self.name, self.split = plan, name, plan.splits[name]
        self.computed: list[tuple[int, int]] = []
        self.clock = Clock()
        self.open = 0
        self._watch = watch

    def writer(self, cache: Path, shard: int) -> ShardWriter:
        rows = self.split.bounds[shard + 1] - self.split.bounds[shard]
        size = self.split.batch_size
        columns = layout.columns(rows, 2, dtype="float16", classes=None, id_bytes=3, block=size)
        return ShardWriter(cache, self.plan, self.name, shard, columns)

    def rows_of(self, shard: int, block: int) -> int:
        start, stop = self.split.bounds[shard : shard + 2]
        return min(self.split.batch_size, stop - start - block * self.split.batch_size)

    def check_agreed(self, cache: Path) -> None:
        check_agreed(cache, self.plan, self.name)

    def blocks(self, shard: int, wanted: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        self.open += 1
        try:
            for block in wanted:
                self.computed.append((shard, block))
                if self._watch:
                    self._watch(shard, block)
                first = self.split.bounds[shard] + block * self.split.batch_size
                index = np.arange(first, first + self.rows_of(shard, block))
                yield (
                    block,
                    {
                        "features": np.stack([index, -index], 1).astype(np.float16),
                        "labels": index % 3,
                        "index": index,
                        "sample_id": index.astype("S3"),
                        "status": np.zeros(len(index), np.uint8),
                    },
                )
        finally:
            self.open -= 1


PLAN = (
    CachePlan({"head": None, "logits": "none"}, 3)
    .with_split("train", SplitPlan(7, 2, (0, 4, 6, 7), True))
    .with_split("val", SplitPlan(3, 2, (0, 3), False))
)
EVERY = {"train": [(0, 0), (0, 1), (1, 0), (2, 0)], "val": [(0, 0), (0, 1)]}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of which nothing but the plan is there."""
    agree(tmp_path / "c", PLAN, None)
    return tmp_path / "c"


def passes(watch: Callable[[int, int], None] | None = None) -> list[Any]:
    """Over both splits."""
    return [Numbers(PLAN, name, watch) for name in PLAN.splits]


@pytest.fixture
def whole(tmp_path: Path, tree: Any) -> dict[str, bytes]:
    """The cache when nothing disturbs it."""
    agree(tmp_path / "whole", PLAN, None)
    fill(tmp_path / "whole", passes(), 0, 1, None)
    files: dict[str, bytes] = tree(tmp_path / "whole")
    return files


def test_everything_is_computed_once_and_in_order(cache: Path, whole: dict[str, bytes], tree: Any) -> None:
    runs = passes()
    assert fill(cache, runs, 0, 1, None) == {"train": 7, "val": 3}
    assert {run.name: run.computed for run in runs} == EVERY
    assert sorted(tree(cache)) == ["cache.json", *[f"train/0000{i}.h5" for i in range(3)], "val/00000.h5"]
    assert tree(cache) == whole


def test_nothing_is_done_where_all_is_there(cache: Path, tree: Any) -> None:
    fill(cache, passes(), 0, 1, None)
    before, runs = tree(cache), passes()
    assert fill(cache, runs, 0, 1, None) == {}
    assert [run.computed for run in runs] == [[], []]
    assert tree(cache) == before


def test_one_batch_comes_before_any_file_and_all_files_before_the_second(cache: Path, tree: Any) -> None:
    seen: list[list[str]] = []

    def look(*_: int) -> None:
        seen.append([name for name in tree(cache) if name.endswith((".part", ".h5"))])

    fill(cache, passes(look), 0, 1, None)
    assert seen[0] == []
    assert seen[1] == [*[f"train/0000{i}.h5.part" for i in range(3)], "val/00000.h5.part"]


def test_a_first_batch_that_cannot_be_stored_leaves_no_file(cache: Path, tree: Any) -> None:
    def bad(*_: int) -> None:
        raise ValueError("too large")

    before, runs = tree(cache), passes(bad)
    with pytest.raises(ValueError, match="too large"):
        fill(cache, runs, 0, 1, None)
    assert tree(cache) == before
    assert runs[0].computed == [(0, 0)]


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("at", range(1, 9))  # a file and its journal for each of four shards
def test_a_disk_without_room_for_all_is_found_before_the_second_batch(
    at: int, cache: Path, whole: dict[str, bytes], failing: Any, tree: Any
) -> None:
    before, runs = tree(cache), passes()
    with pytest.raises(OSError, match="No space left"), failing("allocate", at):
        fill(cache, runs, 0, 1, None)
    assert [run.computed for run in runs] == [[(0, 0)], []]
    assert tree(cache) == before
    fill(cache, passes(), 0, 1, None)
    assert tree(cache) == whole


@pytest.mark.parametrize("stop", range(1, 6))
@pytest.mark.usefixtures("commit_each", "handles")
def test_after_a_stop_only_what_is_missing_is_computed(
    stop: int, cache: Path, whole: dict[str, bytes], tree: Any
) -> None:
    count = itertools.count()

    def break_off(*_: int) -> None:
        if next(count) == stop:
            raise KeyboardInterrupt

    runs = passes(break_off)
    with pytest.raises(KeyboardInterrupt):
        fill(cache, runs, 0, 1, None)
    begun = [(run.name, *place) for run in runs for place in run.computed]
    assert len(begun) == stop + 1
    runs, now = passes(), list[tuple[str, int, int]]()
    written = fill(cache, runs, 0, 1, lambda *said: now.append(said))
    again = [(run.name, *place) for run in runs for place in run.computed]
    assert begun[:-1] + again == [(name, *place) for name, places in EVERY.items() for place in places]
    assert tree(cache) == whole
    assert now[-1] == ("val", 3, 3)
    assert [done for name, done, _ in now if name == "train"] == [2, 4, 6, 7][stop:]
    assert sum(written.values()) == sum(Numbers(PLAN, name).rows_of(*place) for name, *place in again)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_file_belongs_to_one_process(world: int, cache: Path, whole: dict[str, bytes], tree: Any) -> None:
    done = []
    for rank in reversed(range(world)):
        runs = passes()
        fill(cache, runs, rank, world, None)
        assert {shard % world for run in runs for shard, _ in run.computed} <= {rank}
        done += [(run.name, *place) for run in runs for place in run.computed]
    assert sorted(done) == [(name, *place) for name, places in EVERY.items() for place in places]
    assert tree(cache) == whole


def test_a_file_that_another_process_finished_meanwhile_is_left(
    cache: Path, whole: dict[str, bytes], tree: Any
) -> None:
    def meanwhile(shard: int, block: int) -> None:
        if not hurried:
            hurried.append(True)
            fill(cache, passes()[:1], 0, 3, None)

    hurried: list[bool] = []
    runs = passes(meanwhile)
    assert fill(cache, runs, 0, 1, None) == {"train": 3, "val": 3}
    assert runs[0].computed == [(0, 0), (1, 0), (2, 0)]
    assert tree(cache) == whole


def test_a_plan_that_was_replaced_before_the_files_were_there_is_refused(cache: Path, refused: Any, tree: Any) -> None:
    other = CachePlan({"head": "x", "logits": "none"}, 3, None, PLAN.splits)
    runs = passes(lambda *_: agree(cache, other, None) and None)  # while this process computes its first batch
    with refused("'train'", "planned anew", "same options"):
        fill(cache, runs, 0, 1, None)
    assert sorted(tree(cache)) == ["cache.json"]
    assert runs[0].computed == [(0, 0)]


@pytest.mark.parametrize("where", ["the batches", "the progress", "the first batch"])
def test_a_pass_ends_with_its_error(where: str, cache: Path) -> None:
    count = itertools.count()

    def bad(*_: int) -> None:
        if next(count) == (0 if where == "the first batch" else 2) and where != "the progress":
            raise KeyboardInterrupt

    def progress(*_: Any) -> None:
        if where == "the progress":
            raise KeyboardInterrupt

    runs = passes(bad)
    with pytest.raises(KeyboardInterrupt) as caught:
        fill(cache, runs, 0, 1, progress)
    # Whoever still holds the traceback must not hold the pass with it.
    assert [run.open for run in runs] == [0, 0]
    assert caught.tb is not None


def test_what_a_crash_left_beside_finished_files_is_removed(cache: Path, whole: dict[str, bytes], tree: Any) -> None:
    fill(cache, passes(), 0, 1, None)
    (cache / "train" / "00001.h5.journal").touch()
    (cache / "train" / "00002.h5").unlink()
    (cache / "train" / "00002.h5.journal").write_bytes(b"of what is not finished")
    tidy_split(cache, "train", PLAN.splits["train"])
    assert not (cache / "train" / "00001.h5.journal").exists()
    assert (cache / "train" / "00002.h5.journal").exists()
    assert list(missing_shards(cache, "train", PLAN.splits["train"])) == [2]
    fill(cache, passes(), 0, 1, None)
    assert tree(cache) == whole
