"""What the study says of made numbers: its verdicts, and how a backbone was trained."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def test_verdicts_follow_the_intervals(study: Any) -> None:
    verdicts, of = study.parts("verdicts"), study.parts("estimates").Estimate

    def differing(value: float, times: int = 3) -> Any:
        return of(value, 1e-4, 0.0, math.inf, times)  # half its interval: 1.96 points

    assert verdicts.decide([differing(0.03), differing(0.02)]) == "confirmed"
    assert verdicts.decide([differing(0.03), differing(0.01)]) == "cannot be told"
    assert verdicts.decide([differing(0.03), differing(-0.03)]) == "contradicted"
    assert verdicts.decide([differing(-0.021)]) == "contradicted"
    assert verdicts.decide([differing(-0.021), differing(0.03), differing(0.03)]) == "cannot be told"  # widened for 3
    assert verdicts.decide([]) == "cannot be told"
    assert verdicts.decide([differing(0.9, times=1), differing(0.9)]) == "cannot be told"
    assert verdicts.decide([differing(-0.9, times=1)]) == "cannot be told"


def test_findings_on_made_recalls(study: Any, made: Any) -> None:
    """Three classes, many, medium and few, 400 rows of each, right with known chances in three repetitions."""
    verdicts, evidence = study.parts("verdicts"), study.parts("evidence")
    labels, random = np.repeat([0, 1, 2], 400), np.random.default_rng(0)

    def rows(*chances: float) -> dict[int, Any]:
        return {seed: random.random(1200) < np.array(chances)[labels] for seed in range(3)}

    def word(judge: Any, tuned: dict[str, Any], **heads: dict[int, Any]) -> str:
        own = {name: {s: evidence.Head(r, 1, 0, 0, None) for s, r in each.items()} for name, each in heads.items()}
        counts = np.array([90, 40, 9])
        return str(judge(evidence.Evidence(made("a"), counts, None, labels, {}, {"instance": own}, tuned)).word)

    def alone(cached: float, looped: float) -> str:
        arms = {"last-block": rows(0.6, 0.6, 0.6), "trunk": rows(0.6, 0.6, 0.6)}
        tuned = {"classifier": rows(looped, looped, looped), **arms}
        return word(verdicts.classifier_only_is_better, tuned, crt=rows(cached, cached, cached))

    assert (alone(0.9, 0.9), alone(0.3, 0.3)) == ("confirmed", "contradicted")
    assert alone(0.9, 0.3) == alone(0.3, 0.9) == "cannot be told"
    for many, expected in ((0.7, "confirmed"), (0.3, "contradicted")):  # of 0.9, while few gains 0.4
        heads = {"joint": rows(0.9, 0.5, 0.3), "crt": rows(many, 0.5, 0.7)}
        assert word(verdicts.few_gains_more, {}, **heads) == expected


def test_training_is_said_with_the_defaults_of_the_command(study: Any, made: Any) -> None:
    said = study.parts("recipes").training
    arms = made("b", training=("--epochs", "1", "--optimizer", "adamw"), tuning=("--epochs", "2", "--lr", "0.02"))
    assert "1 epoch of AdamW in batches of 32, learning rate 0.001 falling along a cosine, weight decay 0.05" in said(
        arms
    )
    assert "2 epochs of SGD in batches of 32, learning rate 0.02" in said(arms)
    assert "paper trains with SGD" in said(arms)
    assert said(made("ready")) == ""
