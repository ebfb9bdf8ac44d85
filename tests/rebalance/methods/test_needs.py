"""What methods ask of a head, and what a record keeps of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rebalance import LinearHead, NormalizedHead
from rebalance.methods.needs import lineage, need_head, need_linear


@pytest.mark.parametrize("need", [need_head, need_linear])
def test_a_head_is_asked_for_by_name(need: Any, refuses: Any) -> None:
    head = LinearHead(torch.eye(2))
    assert need(head, "lws") is head
    with refuses("lws", "none was given"):
        need(None, "lws")


def test_only_a_plainly_linear_head_is_linear(refuses: Any) -> None:
    head = NormalizedHead(torch.eye(2))
    assert need_head(head, "joint") is head
    with refuses("tau_norm", "NormalizedHead"):
        need_linear(head, "tau_norm")


def test_a_record_keeps_where_the_head_is_from_but_not_how_it_was_found() -> None:
    record = {"source": "run:7", "method": "joint", "cache": "abc", "tuned": {"on": "val"}, "solver": {"passes": 3}}
    head = LinearHead(torch.eye(2), record=record)
    assert lineage(head) == {"source": "run:7", "method": "joint", "cache": "abc"}
    assert head.record == record
