"""Are the heads of the device those of the CPU, and the same twice?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from speed.problem import SEED, Size
from speed.reference import joint_head

from device.heads import FIVE, Rows, five, further, made
from device.record import Record
from rebalance import LinearHead, evaluate

# The solvers stop at a tolerance, and the device multiplies in bfloat16 where that is faster: decisions near a boundary
# may fall otherwise, the accuracy of thousands of rows hardly moves.
APART = 0.005  # of balanced accuracy


def agreement(record: Record, size: Size) -> None:
    """Of every head how far its balanced accuracy is from the CPU's, how many rows it decides otherwise, and how far a
    second fit's logits are from the first's."""
    with record.guarded("agreement/data"):
        here = made(size, torch.device("cpu"))
        there = {split: (rows.to(record.place.device), labels) for split, (rows, labels) in here.items()}
        there = {split: (rows, labels.to(rows.device)) for split, (rows, labels) in there.items()}
        head = LinearHead(*joint_head(*here["train"], size.classes, seed=SEED))
        on_cpu = _works(head, here)
        on_device = _works(head.to(record.place.device), there)
        for name in (*FIVE[1:], "lda"):
            with record.guarded(f"agreement/{name}"):
                _compare(record, f"agreement/{name}", on_cpu[name](), on_device[name], here["test"], there["test"])


def _works(head: LinearHead, splits: dict[str, Rows]) -> dict[str, Callable[[], LinearHead]]:
    return five(head, splits["train"], splits["val"]) | further(head, splits["train"], splits["val"])


def _compare(
    record: Record, name: str, ours: LinearHead, theirs: Callable[[], LinearHead], here: Rows, there: Rows
) -> None:
    features, labels = here
    one, again = (theirs()(there[0]) for _ in range(2))
    if one.device.type != record.place.device.type:
        raise RuntimeError(f"the head of {record.place.device.type} rows gives logits on {one.device.type}")
    apart = abs(evaluate(ours(features), labels).balanced - evaluate(one, there[1]).balanced)
    same = (ours(features).argmax(dim=1) == one.argmax(dim=1).cpu()).double().mean()
    twice = (one - again).abs().max() / one.abs().max()
    note = (
        f"{100 * float(same):.2f} % of the decisions are the same; a second fit's logits differ by {float(twice):.1e}"
    )
    record.found(name, apart, "apart", at_most=APART, note=note)
