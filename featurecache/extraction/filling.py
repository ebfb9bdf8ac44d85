"""Make the files that are missing: room for all of this process's first, then one pass after the other."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from featurecache import disk, layout
from featurecache.extraction.passes import Block, Progress, SplitPass
from featurecache.open_files import room_for
from featurecache.plan import SplitPlan, missing_shards
from featurecache.writer import Finished, ShardWriter, tidy

FILES = 3  # that a shard holds open while it is written: itself, its journal and its lock


def fill(
    cache: Path,
    passes: Sequence[SplitPass],
    rank: int,
    world_size: int,
    progress: Progress | None,
    *,
    first: FirstBatch | None = None,
) -> dict[str, int]:
    """Write the missing shards whose number is `rank` modulo `world_size`; the rows that were computed, by split.

    first: the first batch, where it is computed already; it comes before any file. Every shard has its room on the
    disk before the second batch is computed. An error leaves what was committed; the next run goes on from there.
    """
    written: dict[str, int] = {}
    for run in passes:
        tidy_split(cache, run.name, run.split)
    with ExitStack() as stack:
        first = first or stack.enter_context(closing(FirstBatch(cache, passes, rank, world_size)))
        writers = []
        todo = _todo(cache, passes, rank, world_size)
        room_for(FILES * len(todo), str(cache))
        for run, shard in todo:
            try:
                writers.append((run, shard, stack.enter_context(run.writer(cache, shard))))
            except Finished:
                continue
        for run in {run.name: run for run, _, _ in writers}.values():
            run.check_agreed(cache)
        for run, shard, writer in writers:
            with closing(first.blocks(run, shard, writer.missing)) as blocks:
                rows = _write(writer, blocks, run, shard, progress)
            written[run.name] = written.get(run.name, 0) + rows
    return {name: rows for name, rows in written.items() if rows}


def tidy_split(cache: Path, name: str, split: SplitPlan) -> None:
    """Remove what a crash left beside the finished shards of a split."""
    missing = set(missing_shards(cache, name, split))
    for shard in range(split.shards):
        if shard not in missing:
            tidy(layout.shard_path(cache, name, shard))


def _write(
    writer: ShardWriter, blocks: Iterable[tuple[int, Block]], run: SplitPass, shard: int, progress: Progress | None
) -> int:
    """Write the blocks and finish the shard; the number of rows."""
    rows, (start, stop) = 0, run.split.bounds[shard : shard + 2]
    there = stop - start - sum(run.rows_of(shard, block) for block in writer.missing)
    for block, values in blocks:
        with run.clock.of("write"):
            writer.write(block, values)
        rows += len(values["labels"])
        if progress:
            progress(run.name, start + there + rows, run.split.rows)
    with run.clock.of("write"):
        writer.finish()
    return rows


def _todo(cache: Path, passes: Sequence[SplitPass], rank: int, world_size: int) -> list[tuple[SplitPass, int]]:
    """The missing shards of a rank."""
    return [
        (run, shard)
        for run in passes
        for shard in missing_shards(cache, run.name, run.split)
        if shard % world_size == rank
    ]


class FirstBatch:
    """The first batch of this process, computed and checked before anything is written.

    Nothing is computed where a file of its shard is there already: some of its batches are in it.
    """

    def __init__(self, cache: Path, passes: Sequence[SplitPass], rank: int, world_size: int) -> None:
        self._first: list[tuple[int, Block]] = []
        self._rest: Generator[tuple[int, Block], None, None] | None = None
        for run, shard in _todo(cache, passes, rank, world_size)[:1]:
            if not disk.part_name(layout.shard_path(cache, run.name, shard)).exists():
                rows = run.split.bounds[shard + 1] - run.split.bounds[shard]
                self._run, self._shard = run, shard
                self._every = list(range(-(-rows // run.split.batch_size)))
                self._rest = run.blocks(shard, self._every)
                self._first = [next(self._rest)]

    def blocks(self, run: SplitPass, shard: int, missing: Sequence[int]) -> Generator[tuple[int, Block], None, None]:
        """The missing blocks of a shard, the one that is computed among them."""
        if self._rest and (run, shard) == (self._run, self._shard) and list(missing) == self._every:
            yield from self._first
            yield from self._rest
        else:
            yield from run.blocks(shard, missing)

    def close(self) -> None:
        """End the pass: an error's traceback must not keep the model's hooks and the threads."""
        if self._rest:
            self._rest.close()
