"""The plan on paper of every fit: passes, bytes on the network, memory and core hours."""

from __future__ import annotations

from collections.abc import Mapping

from growing import setting
from growing.made import CLASSES as SMALL_CLASSES
from growing.made import WIDTH as SMALL_WIDTH
from growing.paper import hours, row_bytes
from growing.setting import CLASSES, NODES, RANKS, SIZES, WIDTH, Line, number, size, span
from growing.slopes import Growth
from growing.traffic import EVALUATIONS, TRAFFIC, steps_of

# What a row costs grows with: its columns, the products with every class, or the products among its columns.
COSTS = {"joint": 0.0, "ncm": WIDTH / SMALL_WIDTH, "lda": (WIDTH / SMALL_WIDTH) ** 2}
PRODUCTS = WIDTH * CLASSES / (SMALL_WIDTH * SMALL_CLASSES)


def traffic() -> list[list[str]]:
    """A row a fit: passes, all-reduce in a formula, and its bytes at every one of SIZES."""
    return [
        [name, each.in_words + (", and every row once in random order" if each.visits else ""), each.formula]
        + [size(each.reduced(rows, WIDTH, CLASSES, EVALUATIONS)) for rows in SIZES]
        for name, each in TRAFFIC.items()
    ]


def costs(grown: Mapping[str, Growth]) -> list[list[str]]:
    """A row a fit: bytes a row as measured, memory of a node, core hours; the latter two at every one of SIZES."""
    table = []
    for name in TRAFFIC:
        bytes_a_row, seconds = max(0.0, grown[name].row_bytes), grown[name].row_seconds * COSTS.get(name, PRODUCTS)
        node = [size(rows * bytes_a_row * setting.RANKS_A_NODE) for rows in SIZES]
        table.append([name, f"{bytes_a_row:.0f}", *node, *(hours(rows * seconds / 3600) for rows in SIZES)])
    return table


def descent() -> list[Line]:
    """What one pass in random order takes besides its products."""
    bytes_a_step = 4 * CLASSES * (WIDTH + 1)
    ring = 2 * (NODES - 1) / NODES * bytes_a_step / setting.NETWORK + 2 * setting.LATENCY
    found = [
        Line("steps, one behind the other", "N / 512", tuple(number(steps_of(rows)) for rows in SIZES)),
        Line(
            "waiting for all-reduce",
            f"steps × (2 · {NODES - 1}/{NODES} · 4K(D + 1) / 12.5 GB/s + 2 × 50 µs)",
            tuple(span(steps_of(rows) * ring) for rows in SIZES),
        ),
    ]
    for name, reads in setting.RANDOM_READS.items():
        found.append(Line(f"random reads, {name}", f"N / {reads:g} a second", tuple(span(n / reads) for n in SIZES)))
    own = tuple(size(rows * row_bytes(logits=False) / RANKS) for rows in SIZES)
    return [*found, Line("compared with checksums by every process before a fit", f"its part, one of {RANKS}", own)]
