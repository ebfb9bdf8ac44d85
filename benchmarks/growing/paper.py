"""The plan on paper: 10⁸ and 10⁹ rows, every number with its formula."""

from __future__ import annotations

import json
from collections.abc import Callable

from featurecache import layout
from featurecache.plan import CachePlan, SplitPlan, even_bounds
from featurecache.writer import COMMIT_BYTES
from growing import setting
from growing.setting import CLASSES, RANKS, SIZES, WIDTH, Line, number, size, span

COLUMNS = 5  # features, labels, index, sample_id, status: each has a checksum a block
RECORD = 4 + 4 * COLUMNS + 4  # bytes of a block in a journal


def row_bytes(*, logits: bool) -> int:
    """Bytes of a row in a shard."""
    columns = layout.columns(
        1, WIDTH, dtype="float16", classes=CLASSES if logits else None, id_bytes=setting.ID_BYTES, block=1
    )
    return sum(column.nbytes for name, column in columns.items() if name != "crc")


def bounds(rows: int) -> tuple[int, ...]:
    """Where the shards of a split of so many rows end."""
    return even_bounds(rows, row_bytes=row_bytes(logits=False), batch_size=setting.BATCH, world_size=RANKS)


def plan_bytes(rows: int) -> int:
    """Bytes of cache.json for one split of so many rows."""
    split = SplitPlan(rows, setting.BATCH, bounds(rows), seen=False, data="0" * 64)
    return len(json.dumps(CachePlan({}, CLASSES, None, {"train": split}).to_json()))


def storage(verify_bytes: float) -> list[Line]:
    """Disk, files and reading. verify_bytes: that a core compares with their checksums in a second, measured."""
    each, with_logits = row_bytes(logits=False), row_bytes(logits=True)
    lines = [
        _line("features, labels, ids on disk", f"N × {each} B (2D + 8 + 8 + {setting.ID_BYTES} + 1)", _disk, size),
        _line("the same with stored logits", f"N × {with_logits} B (+ 4K)", lambda n: n * with_logits, size),
        _line("shards, one folder", f"4 GiB at most each, a multiple of {RANKS} ranks", _shards, number),
        _line("bytes of a shard", "disk / shards", lambda n: _disk(n) / _shards(n), size),
        _line("files in the folder while it is written", "3 a shard: file, journal, lock", _written, number),
        _line("files that a rank holds open", "the same / ranks", lambda n: _written(n) / RANKS, number),
        _line("bytes of cache.json", "the plan as it is written", plan_bytes, size),
        _line("bytes of a journal", f"{RECORD} B a block of {setting.BATCH} rows", _journal, size),
        _line("commits in all", "one every 8 MiB, or every second", lambda n: _disk(n) / COMMIT_BYTES, number),
    ]
    for name, bandwidth in setting.BANDWIDTHS.items():
        lines.append(_line(f"one reading pass: {name}", "disk / bandwidth", lambda n, b=bandwidth: _disk(n) / b, span))
    told = f"disk / {verify_bytes / 1e9:.1f} GB/s a core, measured from memory"
    return [*lines, _line("`rebalance verify`, one process", told, lambda n: _disk(n) / verify_bytes, span)]


def computing(pass_seconds: float) -> list[Line]:
    """The extraction. pass_seconds: processor seconds a row of its own, measured with next to no model."""
    lines = [
        _line(f"GPU hours, {name}", f"N × {each / 1e9:g} GFLOP / {setting.GPU / 1e12:g} TFLOP/s", _on_gpus(each), hours)
        for name, each in setting.IMAGES.items()
    ]
    own = f"N × {1e6 * pass_seconds:.0f} µs, measured"
    return [
        *lines,
        _line("core hours to decode", f"N × {1e3 * setting.DECODING:g} ms", _cores(setting.DECODING), hours),
        _line("core hours of the extraction itself", own, _cores(pass_seconds), hours),
        _line("written a second, if 64 GPUs take 8 hours", "disk / 8 h", lambda n: _disk(n) / 28800, _rate),
    ]


def _line(what: str, formula: str, value: Callable[[int], float], words: Callable[[float], str]) -> Line:
    return Line(what, formula, tuple(words(value(rows)) for rows in SIZES))


def _disk(rows: int) -> float:
    return rows * row_bytes(logits=False)


def _shards(rows: int) -> int:
    return len(bounds(rows)) - 1


def _written(rows: int) -> int:
    return 3 * _shards(rows)


def _journal(rows: int) -> float:
    return rows / _shards(rows) / setting.BATCH * RECORD


def _on_gpus(operations: float) -> Callable[[int], float]:
    return lambda rows: rows * operations / setting.GPU / 3600


def _cores(seconds: float) -> Callable[[int], float]:
    return lambda rows: rows * seconds / 3600


def hours(count: float) -> str:
    """Hours, whole ones where they are many."""
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


def _rate(bandwidth: float) -> str:
    return f"{size(bandwidth)}/s"
