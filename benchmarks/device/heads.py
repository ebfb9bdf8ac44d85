"""The heads: the five of the paper, a tuned grid and LDA with the features on the device, some with them on the CPU."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from speed.problem import SEED, Maker, Size
from speed.reference import joint_head
from torch import Tensor

from device.record import Record
from rebalance import LinearHead, evaluate, tune
from rebalance.methods import crt, lda, lws, ncm, tau_norm

Rows = tuple[Tensor, Tensor]


def heads(record: Record, size: Size, *, name: str, target: float | None, runs: int, more: bool) -> None:
    """Every head's seconds, those of all five together, and what accuracy they have.

    size: of the problem. name: it has in the checks. target: seconds of all five. more: LDA, a tuned cRT, and heads
    whose rows are fed from the CPU, too.
    """
    with record.guarded(f"{name}/data"):
        splits = made(size, record.place.device)
        head = LinearHead(*joint_head(*splits["train"], size.classes, seed=SEED))
        works = five(head, splits["train"], splits["val"])
        if more:
            works |= further(head, splits["train"], splits["val"])
            works |= fed(head, splits["train"], splits["val"])

        def accuracy(made: LinearHead) -> str:
            features, labels = splits["test"]
            return f"{100 * evaluate(made(features), labels).balanced:.2f} % balanced accuracy on test"

        timed = {key: record.timed(f"{name}/{key}", work, runs=runs, note=accuracy) for key, work in works.items()}
        rounds = [timed[key] for key in FIVE]
        if any(each is None for each in rounds):
            raise RuntimeError("not all five heads were made")
        seconds = [sum(turn) for turn in zip(*(each.seconds for each in rounds if each), strict=True)]
        record.found(
            f"{name}/all five", statistics.median(seconds), "s", at_most=target, seconds=seconds, note=str(size)
        )


def made(size: Size, device: torch.device) -> dict[str, Rows]:
    """Features in float16 and labels of the three splits."""
    maker = Maker(size, device)
    splits = {}
    for split in ("train", "val", "test"):
        labels = maker.labels(split)
        splits[split] = torch.cat([rows for _, rows in maker.blocks(labels)]), labels
    return splits


FIVE = ("joint", "ncm", "crt", "tau_norm", "lws")


def five(head: LinearHead, train: Rows, val: Rows) -> dict[str, Callable[[], LinearHead]]:
    """The five heads by name: fitted, and tau searched for exactly on the validation rows."""
    return {
        "joint": lambda: head,
        "ncm": lambda: ncm(head, *train),
        "crt": lambda: crt(head, *train),
        "tau_norm": lambda: tune(tau_norm, head, *val).head,
        "lws": lambda: lws(head, *train),
    }


def further(head: LinearHead, train: Rows, val: Rows) -> dict[str, Callable[[], LinearHead]]:
    """What takes longer: LDA, and cRT with the weight decay of its grid that is best on the validation rows."""
    return {"lda": lambda: lda(head, *train), "tune crt": lambda: tune(crt, head, *train, val=val).head}


def fed(head: LinearHead, train: Rows, val: Rows) -> dict[str, Callable[[], LinearHead]]:
    """Heads as the commands fit them: the rows are arrays, and come to the head's device in blocks in every pass."""
    (x, y), (val_x, val_y) = (tuple(each.cpu().numpy() for each in rows) for rows in (train, val))
    return {
        "fed crt": lambda: crt(head, x, y),
        "fed tau_norm": lambda: tune(tau_norm, head, val_x, val_y).head,
        "fed lws": lambda: lws(head, x, y),
    }
