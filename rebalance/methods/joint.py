"""The head as it came out of joint training: the baseline every other row is compared with."""

from __future__ import annotations

from dataclasses import replace

from rebalance.blocks import Features, Labels
from rebalance.head import LinearHead
from rebalance.methods.needs import lineage, need_head


def joint(head: LinearHead | None, features: Features, labels: Labels) -> LinearHead:
    """The classifier of the jointly trained model, unchanged.

    head: the joint head. features, labels: not used.
    Source: Kang et al. (ICLR 2020), section 3.
    """
    head = need_head(head, "joint")
    return replace(head, record={**lineage(head), "method": "joint", "hyperparameters": {}})
