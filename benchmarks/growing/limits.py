"""What breaks first: at how many rows every limit is met, from the measured slopes and from the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from featurecache import layout
from featurecache.plan import MAX_DOCUMENT, MAX_SHARDS, SHARD_BYTES
from growing import setting
from growing.paper import plan_bytes, row_bytes
from growing.setting import MEMORY, NODES, RANKS_A_NODE
from growing.slopes import Growth
from rebalance.blocks import BLOCK_BYTES

WRITTEN_FILES = 3  # of a shard: itself, its journal and its lock


@dataclass(frozen=True)
class Limit:
    """Something that ends. rows: at how many. formula: why there. remedy: what helps."""

    what: str
    rows: float
    formula: str
    remedy: str


def limits(grown: Mapping[str, Growth]) -> list[Limit]:
    """Every limit, the first to be met first.

    grown: of every task.
    """
    node = f"{MEMORY / 1e9:g} GB"
    each = row_bytes(logits=False)
    search = max(0.0, grown["tau_norm, tuned"].row_bytes)
    order = max(0.0, grown["crt"].row_bytes)
    a_shard = (plan_bytes(10**9) - plan_bytes(10**8)) / ((10**9 - 10**8) * each / SHARD_BYTES)
    a_block = BLOCK_BYTES // (4 * max(setting.WIDTH, setting.CLASSES))
    found = [
        Limit(
            "memory of an exact search, in judging rows",
            MEMORY / (search * RANKS_A_NODE),
            f"{node} / ({search:.0f} B × {RANKS_A_NODE} ranks)",
            "validation rows are few: a million judge as well as a billion",
        ),
        Limit(
            "memory of labels and visits in crt, balanced_softmax and their kin",
            MEMORY / (order * RANKS_A_NODE),
            f"{node} / ({order:.0f} B × {RANKS_A_NODE} ranks): every rank holds all labels and the whole order",
            "fewer --visits; --tol, whose passes need no order; fewer ranks a node",
        ),
        Limit(
            "features in the memory of all nodes, for visits in random order",
            NODES * MEMORY / each,
            f"{NODES} × {node} / {each} B",
            "--tol, or fewer --visits: beyond, every visit is a random read of the disk",
        ),
        Limit(
            f"open files of an extraction by one process ({setting.OPEN_FILES:,})",
            setting.OPEN_FILES / WRITTEN_FILES * SHARD_BYTES / each,
            f"{setting.OPEN_FILES:,} / {WRITTEN_FILES} a shard × 4 GiB / {each} B: it lays out all its shards first",
            "more ranks, or `ulimit -Hn`",
        ),
        Limit(
            f"open files of a process that reads ({setting.OPEN_FILES:,})",
            setting.OPEN_FILES * SHARD_BYTES / each,
            f"{setting.OPEN_FILES:,} × 4 GiB / {each} B: every rank maps every shard",
            "`ulimit -Hn`",
        ),
        Limit(
            "float32 in the sums of a gradient, to a tolerance of 10⁻³",
            (1e-3 * 2**24) ** 2 * a_block,
            f"(10⁻³ × 2²⁴)² blocks of {a_block:,} rows: rounding adds up like a random walk",
            "ranks: each adds up its own rows",
        ),
        Limit(
            "shards of a cache",
            MAX_SHARDS * SHARD_BYTES / each,
            f"{MAX_SHARDS:,} × 4 GiB / {each} B",
            "several caches",
        ),
        Limit(
            "bytes of cache.json",
            MAX_DOCUMENT / a_shard * SHARD_BYTES / each,
            f"64 MiB / {a_shard:.0f} B a shard",
            "never before the one above",
        ),
        Limit("row numbers", float(layout.MAX_ROWS), "2⁴⁰ in a split; they are int64 everywhere", "none is needed"),
    ]
    return sorted(found, key=lambda limit: limit.rows)
