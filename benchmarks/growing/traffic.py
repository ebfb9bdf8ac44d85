"""What a fit reads and what its processes tell each other: counted from the code, and tested against it.

Symbols: N rows, D columns, K classes, P the evaluations of the solver. All sums go through rebalance.ranks.total.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

BATCH = 512  # rows of a step of rebalance.solving.descent
ROUNDS = 11  # sums of D numbers, by which it finds its rate
EVALUATIONS = 20  # of a solver, where it is not known how many: those measured are 5 to 40


@dataclass(frozen=True)
class Traffic:
    """What one fit reads and adds up over its processes.

    passes: over all rows, one behind the other; in_words: with the P evaluations. visits: rows read in random order,
    as a part of all rows. formula: the bytes that every process hands to all-reduce; reduced: the same as a function
    of (N, D, K, P).
    """

    passes: Callable[[int], int]
    in_words: str
    visits: float
    formula: str
    reduced: Callable[[int, int, int, int], int]


def sums(width: int, classes: int) -> int:
    """Bytes of the class sums (K, D) in float64, with which every fit begins."""
    return 8 * classes * width


def steps_of(rows: int) -> int:
    """Steps of the descent that visits every row once."""
    return max(1, rows // BATCH)


def _descended(n: int, d: int, k: int, _: int) -> int:
    return sums(d, k) + steps_of(n) * 4 * k * (d + 1) + 4 * (1 + d) + 4 * ROUNDS * d


_DESCENT = Traffic(lambda _: 1, "1", 1.0, "8KD + N/512 · 4K(D + 1) + 4(12D + 1)", _descended)
_SEARCH = Traffic(lambda _: 2, "2", 0.0, "16N + N", lambda n, d, k, p: 17 * n)

TRAFFIC: dict[str, Traffic] = {
    "joint": Traffic(lambda _: 0, "0", 0.0, "0", lambda n, d, k, p: 0),
    "ncm": Traffic(lambda _: 2, "2", 0.0, "8KD + 8(K + 1)D", lambda n, d, k, p: sums(d, k) + sums(d, k + 1)),
    "lda": Traffic(lambda _: 2, "2", 0.0, "8KD + 8D²", lambda n, d, k, p: sums(d, k) + 8 * d * d),
    "lws": Traffic(
        lambda _: 1, "1, and P over 20 rows a class", 0.0, "8KD + 8K + P(8K + 8)",
        lambda n, d, k, p: sums(d, k) + 8 * k + p * (8 * k + 8),
    ),
    "crt": _DESCENT,
    "crt, whole passes": Traffic(
        lambda p: 2 + p, "2 + P", 0.0, "8KD + 4D² + 4K + P(4K(D + 1) + 8)",
        lambda n, d, k, p: sums(d, k) + 4 * d * d + 4 * k + p * (4 * k * (d + 1) + 8),
    ),
    "balanced_softmax": _DESCENT,
    "temperature": Traffic(
        lambda p: 1 + p, "1 + P", 0.0, "8KD + P(8K + 8)", lambda n, d, k, p: sums(d, k) + p * (8 * k + 8)
    ),
    "tau_norm, tuned": _SEARCH,
    "logit_adjust, tuned": _SEARCH,
}  # fmt: skip
