"""The paper's findings, each with the rule that says what is confirmed.

Confirmed needs every one of its differences to be above 0, each by its own 95 % interval: all must hold, so nothing is
to be corrected. Contradicted needs one of m differences to be below 0, by an interval of level 1 - 0.05 / m
(Bonferroni): any will do. Everything else cannot be told from these data, and so cannot what was trained only once.
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

Word = Literal["confirmed", "contradicted", "cannot be told", "not asked"]
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


def decide(differences: Sequence[Estimate]) -> Word:
    """Whether all are above 0, or one is below it; one repetition, whose intervals lack the training's, cannot tell."""
    if not differences or any(each.times < 2 for each in differences):
        return "cannot be told"
    if all(each.low() > 0 for each in differences):
        return "confirmed"
    if any(each.high(1 - LEVEL / len(differences)) < 0 for each in differences):
        return "contradicted"
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
    """Finding 3, for both ways to retrain the classifier alone: told where they agree."""
    if not found.tuned:
        return Verdict("not asked")
    weights = found.groups()["all"]
    looped, cached = found.tuned.get("classifier", {}), found.right(found.first, "crt")
    words, said = [], []
    for name, own in {"Classifier only in the image loop": looped, "cRT on the cache": cached}.items():
        pairs = {part: found.difference(own, found.tuned.get(part, {}), weights) for part in ("last-block", "trunk")}
        there = {part: each for part, each in pairs.items() if each is not None}
        word = decide(list(there.values())) if len(there) == len(pairs) else "cannot be told"
        less = ", ".join(f"{CALLED[part]} {points(each)}" for part, each in there.items())
        words.append(word)
        said.append(f"{name} less the arms, points: {less or 'missing'}; by itself {word}.")
    beside = found.difference(cached, looped, weights)
    if beside is not None:
        said.append(f"On the same features cRT on the cache less classifier only, points: {points(beside)}.")
        if beside.times > 1 and beside.low() > 0:
            said.append("The few epochs may not have brought the image loop's fresh classifier to its minimum.")
    return Verdict(words[0] if words[0] == words[1] else "cannot be told", tuple(said))


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
        word = "contradicted"
    return Verdict(word, (said,))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _other_norms(found: Evidence) -> str:
    from rebalance.report.figures.norms import spearman

    said = ""
    for name in ("crt", "lws"):  # τ-normalisation below τ = 1 keeps the order of the norms, and so ρ
        values = [spearman(norms, found.counts) for norms in found.norms(name).values()]
        if values:
            mean = "none" if np.isnan(values).all() else f"{_signed(np.nanmean(values))} on average"
            said += f"; {CALLED[name]} {mean}"
    return said


def few_gains_more(found: Evidence) -> Verdict:
    """Finding 5: the gain of few less the loss of many, with the change of each."""
    groups = found.groups()
    if not {"many", "few"} <= groups.keys():
        return Verdict("not asked")
    after, before = found.right(found.first, BALANCED), found.right(found.first, "joint")
    many, few, net = (
        found.difference(after, before, weights)
        for weights in (groups["many"], groups["few"], groups["few"] + groups["many"])
    )
    if many is None or few is None or net is None:
        return Verdict("cannot be told")
    said = f"Points: many {points(many)}, few {points(few)}; gain of few less loss of many {points(net)}."
    return Verdict(decide([net]), (said,))


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
        "From the instance-balanced model, class-balanced sampling, a fresh classifier, one recipe: the classifier "
        "alone less last block and classifier, and less everything, all classes. The classifier alone is retrained in "
        "two ways, and both are given: in the image loop, by the recipe of the other arms; and as cRT on the cache, "
        "with a weight decay chosen on validation. It is told only where both ways say the same.",
        classifier_only_is_better,
        "perhaps the backbone was not trained to its end: then more training of it still improves the features, which "
        "nothing here keeps apart from rebalancing; or a few epochs do not bring a fresh classifier to its minimum",
    ),
    Finding(
        "norms",
        "The weight norms of the joint classifier follow the class sizes",
        "Spearman's correlation of norm and training rows on the instance-balanced representation: positive with "
        "p < 0.05 in every repetition; contradicted where it is negative with p < 0.05 in one.",
        norms_follow_sizes,
        "perhaps how hard a class is weighs more than how frequent it is, or weight decay and the few epochs keep the "
        "norms alike",
    ),
    Finding(
        "many",
        "Few gains more than many loses",
        "The rebalanced classifier that validation chooses less the joint one, on many and on few: the gain of few "
        "less the loss of many. In the paper (ImageNet-LT, LWS) many −5.7 and few +22.6 points.",
        few_gains_more,
        "perhaps each row that a rare class wins is taken from a frequent one that looks like it",
    ),
)
