"""What methods ask of their three arguments, checked where the data enter."""

from __future__ import annotations

from typing import Any

from rebalance.head import LinearHead


def need_head(head: LinearHead | None, method: str) -> LinearHead:
    """The head; ValueError when there is none."""
    if head is None:
        raise ValueError(f"{method} changes a trained head and none was given; expected the head of the model")
    return head


def need_linear(head: LinearHead | None, method: str) -> LinearHead:
    """The head; ValueError when there is none or it is not plainly affine in the features."""
    head = need_head(head, method)
    if type(head) is not LinearHead:
        raise ValueError(f"{method} changes weight and bias of a linear head; got a {type(head).__name__}")
    return head


def lineage(head: LinearHead) -> dict[str, Any]:
    """What the record of a head made from this one still says: not how this one was tuned or solved."""
    return {key: value for key, value in head.record.items() if key not in ("tuned", "solver")}
