"""The paper's findings, each with the rule that says what is confirmed: fixed before anything was looked at.

Confirmed needs every one of its differences to be above its bound, each by its own 95 % interval: all must hold, so
nothing is to be corrected. Not confirmed needs one of m differences to be below its bound, by an interval of level
1 - 0.05 / m (Bonferroni): any will do. Everything else cannot be told from these data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .estimates import Estimate
from .evidence import BALANCED, Evidence
from .naming import CALLED
from .planning import REBALANCED, SAMPLERS

Word = Literal["confirmed", "not confirmed", "cannot be told", "not asked"]
LITTLE = 0.05  # of recall: what the classes many may lose
LEVEL = 0.05


@dataclass(frozen=True)
class Verdict:
    """What one set says of one finding. said: the numbers, a sentence each."""

    word: Word
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A finding of the paper. claim: in words. rule: what is compared. judge: on a set. guess: why it may not hold."""

    name: str
    claim: str
    rule: str
    judge: Callable[[Evidence], Verdict]
    guess: str


def decide(differences: Sequence[Estimate], bound: float = 0.0) -> Word:
    """Whether all are above the bound, or one is below it."""
    if not differences:
        return "cannot be told"
    if all(each.low() > bound for each in differences):
        return "confirmed"
    if any(each.high(1 - LEVEL / len(differences)) < bound for each in differences):
        return "not confirmed"
    return "cannot be told"


def points(each: Estimate) -> str:
    """A difference in points with its 95 % interval."""
    return f"{100 * each.value:+.1f} ({100 * each.low():+.1f} to {100 * each.high():+.1f})".replace("-", "−")


def instance_is_best(found: Evidence) -> Verdict:
    """Finding 1, for the rebalanced classifier that validation chooses; the single ones are said beside it."""
    if not found.trained:
        return Verdict("not asked")
    word, said = _against(found, "instance", BALANCED)
    words = {name: _against(found, "instance", name)[0] for name in REBALANCED}
    taken = [
        f"{CALLED[sampler]} {', '.join(CALLED[name] for name in found.chosen(sampler).values())}"
        for sampler in SAMPLERS
        if sampler in found.heads
    ]
    by = "; ".join(f"{CALLED[name]} {each}" for name, each in words.items())
    return Verdict(word, (said, f"Chosen: {'; '.join(taken)}.", f"By classifier: {by}."))


def progressive_is_best(found: Evidence) -> Verdict:
    """Finding 2."""
    if not found.trained:
        return Verdict("not asked")
    word, said = _against(found, "progressive", "joint")
    return Verdict(word, (said,))


def classifier_only_is_better(found: Evidence) -> Verdict:
    """Finding 3: in the image loop, all arms alike but for what is trained."""
    if not found.tuned:
        return Verdict("not asked")
    weights = found.groups()["all"]
    own = found.tuned.get("classifier", {})
    pairs = {part: found.difference(own, found.tuned.get(part, {}), weights) for part in ("last-block", "trunk")}
    there = {part: each for part, each in pairs.items() if each is not None}
    said = [f"Classifier only less {CALLED[part]}: {points(each)} points." for part, each in there.items()]
    beside = found.difference(found.right(found.first, "crt"), own, weights)
    if beside is not None:
        said.append(f"cRT on the cache less classifier only in the image loop: {points(beside)} points.")
    word = decide(list(there.values())) if len(there) == len(pairs) else "cannot be told"
    return Verdict(word, tuple(said))


def norms_follow_sizes(found: Evidence) -> Verdict:
    """Finding 4: Spearman's correlation of the joint head's norms with the training rows, in every repetition."""
    from scipy.stats import spearmanr

    tests = [spearmanr(norms, found.counts) for norms in found.norms("joint").values()]
    if not tests:
        return Verdict("cannot be told")
    sure = [each.pvalue < LEVEL for each in tests]
    said = f"Joint ρ = {', '.join(_signed(each.statistic) for each in tests)}{_other_norms(found)}."
    word: Word = "cannot be told"
    if all(each.statistic > 0 for each in tests) and all(sure):
        word = "confirmed"
    elif any(each.statistic < 0 and p for each, p in zip(tests, sure, strict=True)):
        word = "not confirmed"
    return Verdict(word, (said,))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _other_norms(found: Evidence) -> str:
    from rebalance.report.figures.norms import spearman

    said = ""
    for name in ("crt", "tau_norm", "lws"):
        values = [spearman(norms, found.counts) for norms in found.norms(name).values()]
        if values:
            mean = "none" if np.isnan(values).all() else f"{_signed(np.nanmean(values))} on average"
            said += f"; {CALLED[name]} {mean}"
    return said


def many_loses_little(found: Evidence) -> Verdict:
    """Finding 5: the loss of many is under LITTLE, and under the gain of few."""
    groups = found.groups()
    if not {"many", "few"} <= groups.keys():
        return Verdict("not asked")
    after, before = found.right(found.first, BALANCED), found.right(found.first, "joint")
    lost = found.difference(before, after, groups["many"])
    gained = found.difference(after, before, groups["few"])
    net = found.difference(after, before, groups["few"] + groups["many"])
    if lost is None or gained is None or net is None:
        return Verdict("cannot be told")
    said = (
        f"Many loses {points(lost)} points, few gains {points(gained)}; gain of few less loss of many: {points(net)}."
    )
    if lost.high() < LITTLE and net.low() > 0:
        return Verdict("confirmed", (said,))
    if lost.low(1 - LEVEL / 2) > LITTLE or net.high(1 - LEVEL / 2) < 0:
        return Verdict("not confirmed", (said,))
    return Verdict("cannot be told", (said,))


def _against(found: Evidence, one: str, method: str) -> tuple[Word, str]:
    """One representation against every other, under a classifier."""
    weights = found.groups()["all"]
    others = [sampler for sampler in SAMPLERS if sampler != one]
    pairs = {
        each: found.difference(found.right(one, method), found.right(each, method), weights)
        for each in others
        if each in found.heads
    }
    there = {name: each for name, each in pairs.items() if each is not None}
    said = ", ".join(f"{CALLED[name]} {points(each)}" for name, each in there.items())
    word = decide(list(there.values())) if len(there) == len(others) else "cannot be told"
    return word, f"{CALLED[one].capitalize()} less the others, points: {said}."


FINDINGS = (
    Finding(
        "instance",
        "The instance-balanced representation is best once the classifier is rebalanced",
        "Under the classifier of NCM, cRT, τ-normalisation and LWS that validation chooses, for each sampler by "
        "itself: instance-balanced less each of the other three, all classes.",
        instance_is_best,
        "perhaps in so few epochs a small network does not learn all that the rare classes have to teach: sampling "
        "them more often gives it more steps on them, and their rows are not yet learned by heart",
    ),
    Finding(
        "progressive",
        "Without rebalancing, progressively-balanced sampling is best",
        "The jointly trained classifier: progressively-balanced less each of the other three, all classes.",
        progressive_is_best,
        "perhaps so short a training leaves the last, nearly class-balanced epochs too few steps, and class-balanced "
        "sampling from the first epoch on does not yet overfit the rare classes",
    ),
    Finding(
        "classifier-only",
        "Retraining the classifier alone beats fine-tuning the trunk",
        "From the instance-balanced model, class-balanced sampling, a fresh classifier, one recipe: classifier only "
        "less last block and classifier, and less everything, all classes.",
        classifier_only_is_better,
        "perhaps the backbone was not trained to its end: then more training of it still improves the features, which "
        "nothing here keeps apart from rebalancing",
    ),
    Finding(
        "norms",
        "The weight norms of the joint classifier follow the class sizes",
        "Spearman's correlation of norm and training rows on the instance-balanced representation: positive with "
        "p < 0.05 in every repetition; not confirmed where it is negative with p < 0.05 in one.",
        norms_follow_sizes,
        "perhaps with few classes how hard a class is weighs more than how frequent it is, or weight decay and the few "
        "epochs keep the norms alike",
    ),
    Finding(
        "many",
        "The frequent classes lose little",
        f"Joint less the rebalanced classifier that validation chooses, on many, is under {100 * LITTLE:g} points, and "
        "the gain of few is larger than that loss.",
        many_loses_little,
        "perhaps where few classes look alike, each row that a rare class wins is taken from a frequent one; with many "
        "classes the loss spreads",
    ),
)
