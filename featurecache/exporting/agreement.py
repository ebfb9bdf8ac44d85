"""Whether two computations of the same logits agree: the one place that decides it for everything that is exported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from featurecache.proof import precision

NEVER = -1e15  # a logit below it is that of a class that is never predicted; its size is no measure for the others


@dataclass(frozen=True)
class Agreement:
    """How far logits are from those that were expected, over some rows.

    rows: N. largest, tolerance: the deviation that is nearest to what rounding explains, or farthest beyond, and what
    it is allowed; of the classes that are ever predicted.
    close: rows whose decision is left open, as another class is within twice the tolerance of the best one.
    wrong: other rows with another decision. beyond: rows with a logit that deviates by more than the tolerance.
    """

    rows: int
    largest: float
    tolerance: float
    close: int
    wrong: int
    beyond: int

    @property
    def holds(self) -> bool:
        """Whether every logit is within the tolerance and every decision that is not close is the same."""
        return not (self.wrong or self.beyond)

    def require(self, what: str) -> None:
        """ValueError unless it holds. what: what the message calls the thing that gave the logits."""
        if not self.holds:
            raise ValueError(
                f"{what} does not give the head's logits: {self.beyond} of {self.rows} rows deviate, by up to "
                f"{self.largest:.3g} where rounding allows {self.tolerance:.3g}, and {self.wrong} decisions differ; "
                "expected the same numbers"
            )


def agreement(
    expected: Tensor, made: Tensor, *, dtype: torch.dtype = torch.float32, terms: Tensor | None = None
) -> Agreement:
    """How well logits agree with the expected ones.

    A deviation is one of sums, and relative to the size of their terms, see `featurecache.proof.precision`. Where the
    terms are known, every logit has its own tolerance: one of a class that is switched off by a large bias says nothing
    of the others, and where terms cancel the logit may be as small as it likes. Otherwise the tolerance is relative to
    the largest expected logit of all rows; those of classes that are never predicted, of -1e30 as a rule, are compared
    relative to themselves.

    expected: (N, K), finite.
    made: (N, K), on any device.
    dtype: the coarsest one that the weights went through.
    terms: (N, K), the root of the summed squares of what each logit is the sum of.

    Raises ValueError when the shapes differ, or there is no row.
    """
    if expected.ndim != 2 or expected.shape != made.shape or not expected.numel():
        raise ValueError(f"logits {tuple(made.shape)}, expected {tuple(expected.shape)}, at least one row")
    relative = precision(torch.empty(0, dtype=dtype, device=made.device), made)
    z, other = expected.detach().cpu().double(), made.detach().cpu().double()
    usual = z > NEVER
    if terms is None:
        largest = float(z.abs()[usual].max()) if bool(usual.any()) else 0.0
        allowed = torch.where(usual, largest, z.abs()) * relative
    else:
        allowed = (z.abs() + terms.detach().cpu().double()) * relative
    deviation = (z - other).abs()
    deviation[deviation.isnan()] = torch.inf
    close, best = _close(z, allowed)
    # Of all logits that count, the one that uses up most of what it is allowed.
    share = torch.where(usual | ~usual.any(), deviation / allowed.clamp_min(1e-300), -1.0)
    worst = int(share.argmax())
    return Agreement(
        rows=len(z),
        largest=float(deviation.flatten()[worst]),
        tolerance=float(allowed.flatten()[worst]),
        close=int(close.sum()),
        wrong=int((~close & (other.argmax(dim=1) != best)).sum()),
        beyond=int((deviation > allowed).any(dim=1).sum()),
    )


def together(parts: Iterable[Agreement]) -> Agreement:
    """The agreement over the rows of all parts; deviation and tolerance of the one nearest to it, or beyond.

    Raises ValueError when there is no part.
    """
    all_of = list(parts)
    if not all_of:
        raise ValueError("no rows to compare; expected at least one")
    worst = max(all_of, key=lambda part: part.largest / max(part.tolerance, 1e-300))
    return Agreement(
        rows=sum(part.rows for part in all_of),
        largest=worst.largest,
        tolerance=worst.tolerance,
        close=sum(part.close for part in all_of),
        wrong=sum(part.wrong for part in all_of),
        beyond=sum(part.beyond for part in all_of),
    )


def _close(z: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N,) in which another class may be the best one within the tolerance (N, K), and the best class (N,)."""
    best = z.argmax(dim=1, keepdim=True)
    gap = z.gather(1, best) - z
    near = gap <= allowed + allowed.gather(1, best)
    return near.scatter(1, best, False).any(dim=1), best[:, 0]
