"""The interval of every row of a data set, from logits that stream by in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from rebalance import ranks
from rebalance.blocks import Features, own_blocks, refuse_nonfinite
from rebalance.head import LinearHead
from rebalance.metrics import refuse_bad_logits
from rebalance.search.path import Floats

EXACT = 10_000_000  # logits up to this many are computed in float64

Block: TypeAlias = tuple[slice, Tensor]
Rule: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""``rule(logits, labels) -> (lo, hi)``, of a block: (B, K) and (B,), 0..K-1; see rebalance.search.path."""

TILE = 2**17  # logits that are worked on at once: they stay in the processor's cache from one step to the next


def exact_logits(head: LinearHead, features: Features) -> Iterator[Block]:
    """The head's logits of the rows that this rank reads, in blocks as (slice, (B, K) tensor).

    features: (N, D). In float64 where they are few (and computed in it where the head is linear), else in float32.
    ValueError when a feature is not finite.
    """
    few = len(features) * head.num_classes <= EXACT
    double = few and type(head) is LinearHead
    weight, bias = (head.weight.double(), head.bias.double()) if double else (head.weight, head.bias)
    for part, block in own_blocks(features, device=weight.device, columns=head.num_classes):
        z = torch.addmm(bias, block.double(), weight.T) if double else head(block)
        z = z.double() if few else z
        # The sum of finite logits may overflow; then the rows themselves are looked at, and found to be well.
        if not bool(torch.isfinite(z.sum())):
            refuse_nonfinite(features)
        yield part, z


def given_logits(logits: Features, bias: Tensor) -> Iterator[Block]:
    """Logits (N, K) without their bias (K,), in blocks as (slice, (B, K) tensor): float64 where they are few.

    ValueError when one is not finite.
    """
    few = len(logits) * len(bias) <= EXACT
    rows = max(1, TILE // len(bias)) if bias.is_cpu else None
    for part, block in own_blocks(logits, device=bias.device, rows=rows):
        if not bool(torch.isfinite(block.sum())):
            refuse_bad_logits(logits)
        yield part, (block.double() if few else block) - bias


def row_intervals(logits: Iterable[Block], labels: Tensor, rule: Rule) -> tuple[Floats, Floats]:
    """For each row the open interval (lo, hi) on which it is classified correctly; lo >= hi where it never is.

    logits: in blocks, of the rows that this rank reads. labels: (N,), -1 where there is none (never right).
    rule: the intervals of a block.
    """
    lo = torch.zeros(len(labels), dtype=torch.float64, device=labels.device)
    hi = torch.zeros_like(lo)
    for part, block in logits:
        rows = max(1, TILE // block.shape[1]) if block.is_cpu else len(block)
        for start in range(0, len(block), rows):
            here = slice(part.start + start, min(part.start + start + rows, part.stop))
            own = labels[here].to(block.device)
            low, high = rule(block[start : start + rows], own.clamp_min(0))
            lo[here] = torch.where(own >= 0, low, math.inf).to(lo.device)
            hi[here] = torch.where(own >= 0, high, -math.inf).to(lo.device)
    # Rows of other ranks are zero here, so the sum puts the intervals together.
    ranks.total(lo, hi)
    return lo.cpu().numpy(), hi.cpu().numpy()
