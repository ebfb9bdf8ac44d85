"""Who is compared, with whom, and on what question. Nothing heavy is imported here: every process reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["ours", "scikit", "imbalanced", "reference"]

OWNERS: dict[Side, str] = {
    "ours": "this project",
    "scikit": "scikit-learn",
    "imbalanced": "imbalanced-learn",
    "reference": "the reference's recipe",
}


@dataclass(frozen=True)
class Candidate:
    """One row of a table.

    name: of the row, and of the fit in its side's FITS. side: whose it is; the module of `comparing.sides`.
    question: what it answers. against: the row of ours that answers the same; "" for ours.
    costly: why a pass over the data takes it longer than others, so that it is left out of large sets: it has as many
    rows of every class as of the largest, or it passes for each value of a grid; "" for most.
    """

    name: str
    side: Side
    question: str
    against: str = ""
    costly: Literal["", "rows", "grid"] = ""


AS_IT_CAME = "The classifier as it came"
SAME_WEIGHT = "A linear classifier, every class weighing the same"
PLAIN = "A linear classifier, every row weighing the same"
NORMS = "The weights divided by a power of their norms"
SCALES = "One learned factor a class"
MEANS = "The nearest class mean"
GAUSSIANS = "Gaussian classes of one covariance, uniform prior"
PRIOR = "The training prior taken out of the logits"
HONEST = "Honest probabilities: one temperature"

CANDIDATES = (
    Candidate("joint", "ours", AS_IT_CAME),
    Candidate("crt", "ours", SAME_WEIGHT),
    Candidate("LogisticRegression, balanced", "scikit", SAME_WEIGHT, "crt"),
    Candidate("RandomOverSampler + LogisticRegression", "imbalanced", SAME_WEIGHT, "crt", "rows"),
    Candidate("RandomUnderSampler + LogisticRegression", "imbalanced", SAME_WEIGHT, "crt"),
    Candidate("SMOTE + LogisticRegression", "imbalanced", SAME_WEIGHT, "crt", "rows"),
    Candidate("cRT, 10 epochs of SGD", "reference", SAME_WEIGHT, "crt"),
    Candidate("crt, tuned", "ours", SAME_WEIGHT),
    Candidate("LogisticRegression, balanced, C tuned", "scikit", SAME_WEIGHT, "crt, tuned", "grid"),
    Candidate("logit_adjusted_loss, tau 0", "ours", PLAIN),
    Candidate("LogisticRegression", "scikit", PLAIN, "logit_adjusted_loss, tau 0"),
    Candidate("logit_adjusted_loss, tau 0, tuned", "ours", PLAIN, costly="grid"),
    Candidate("LogisticRegression, C tuned", "scikit", PLAIN, "logit_adjusted_loss, tau 0, tuned", "grid"),
    Candidate("balanced_softmax", "ours", PRIOR),
    Candidate("logit_adjust, tuned", "ours", PRIOR),
    Candidate("tau_norm, tuned", "ours", NORMS),
    Candidate("tau, grid of 21", "reference", NORMS, "tau_norm, tuned"),
    Candidate("lws", "ours", SCALES),
    Candidate("LWS, 5 epochs of SGD", "reference", SCALES, "lws"),
    Candidate("ncm", "ours", MEANS),
    Candidate("NCM", "reference", MEANS, "ncm"),
    Candidate("ncm, un", "ours", MEANS),
    Candidate("NearestCentroid", "scikit", MEANS, "ncm, un"),
    Candidate("lda", "ours", GAUSSIANS),
    Candidate("LinearDiscriminantAnalysis", "scikit", GAUSSIANS, "lda"),
    Candidate("temperature", "ours", HONEST),
    Candidate("CalibratedClassifierCV, temperature", "scikit", HONEST, "temperature"),
)
SHRINKAGE = 0.1  # of both sides' covariance
DECAY = 5e-4  # of both sides' linear classifiers where nothing is tuned
SEED = 0
WARM = "warm"  # the folder, in that of a set, of the few rows that every process fits first
VALUES = 5  # of a grid
MOST = 5e9  # products (rows x columns x classes) of a pass beyond which a costly candidate would only meet its limit
LAST = ("logit_adjusted_loss, tau 0", "crt, tuned", "logit_adjusted_loss, tau 0, tuned")  # they tell the least, slowly


def chosen(names: list[str] | None) -> tuple[Candidate, ...]:
    """The candidates of these names, in the table's order, all without; ValueError for a name that is none's."""
    known = {each.name for each in CANDIDATES}
    if unknown := [name for name in names or () if name not in known]:
        raise ValueError(f"no candidate {unknown[0][:80]!r}; there are {'; '.join(sorted(known))}")
    return tuple(each for each in CANDIDATES if names is None or each.name in names)


def fits_into(candidate: Candidate, *, rows: int, largest: int, width: int, classes: int) -> bool:
    """Whether a candidate is measured on a set. rows: of train; largest: those of its largest class."""
    passed = {"": 0, "rows": classes * largest, "grid": VALUES * rows}[candidate.costly]
    return passed * width * classes <= MOST


def groups(candidates: Sequence[Candidate]) -> list[tuple[Candidate, ...]]:
    """Every row of ours with the peers compared with it, the most telling ones first."""
    made: dict[str, list[Candidate]] = {}
    for each in candidates:
        made.setdefault(each.against or each.name, []).append(each)
    names = sorted(made, key=lambda name: LAST.index(name) if name in LAST else -1)
    return [tuple(made[name]) for name in names]
