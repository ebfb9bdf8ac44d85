"""docs/peers.md: the verdict, how it was measured, the tables, where a peer is better, and how to run it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comparing.questions import DECAY, MOST, SHRINKAGE, VALUES
from comparing.race import ASIDE, RUNS, SHORT
from comparing.running import GRACE
from comparing.tables import markdown
from comparing.tables import markdown_row as _row
from comparing.verdict import UNNOTICED, best, better, sentences

TEMPLATE = """# Beside scikit-learn, imbalanced-learn and the reference

One question: what does a user of this project gain over the classifiers of scikit-learn, the resampling of
imbalanced-learn, or the recipes of the paper's own code, on the same features? Answered by one run of
`benchmarks/peers.py`, which also wrote this page.

## The verdict

{verdict}

{better}By data set. The best of each side is chosen here on the test rows themselves, which flatters both sides alike:

{best}

## How it was measured

{machine}

- **The same rows.** Every candidate is fitted on train, chosen on val where it has something to choose, and judged on
  test by the same functions (`rebalance.evaluate`). Ours reads the cache as it lies on disk, within the time of the
  fit; the others get the same numbers as float32 arrays, loaded before their clock starts (scikit-learn computes with
  float32 where it can, which is also its fastest).
- **The same threads**, {threads}, for OpenMP, BLAS and torch. Every candidate has a process of its own; one works at a
  time.
- **Time** is the wall time of the fit, choosing included, each after one fit on few rows that loads its code. What
  takes less than {short:g} s runs {runs} more times, the candidates in turns; the median of these is shown. `to ours`
  is the time over that of the row of this project that answers the same question; times within 10 % or {unnoticed:g}
  s of each other count as alike. `predict` is the time for the log-probabilities of all test rows; of
  `NearestCentroid`, which decides without them and takes a pass over the rows for every class to make them (and gets
  {aside:g} s to), for the decisions.
- **Memory** is the most that the process has resident, through fit and prediction, libraries and touched pages of the
  memory-mapped cache included; `with data` is that beyond what it took once its libraries were imported.
- **Limits.** A fit, or a prediction, may take {limit} s. L-BFGS is ended after the iteration in which the time is up,
  and judged as it stands; anything else is killed at {grace:g} times the limit. What asks for more memory than four
  fifths of what was free is refused. Such rows stay in the table and say so.
- **Settings.** scikit-learn's `LogisticRegression` minimises the objective of `crt` (`class_weight="balanced"`) and of
  plain cross-entropy, with the same weight decay ({decay:g}) or with C chosen on val among the decays that `tune`
  tries; up to 1,000 iterations, each C started from the stronger one before it. The best C on val is taken, while
  `tune` by default takes the strongest decay within one standard error of the best. Each side stops by its own default
  tolerance; ours is the looser one. Both LDAs shrink by {shrinkage:g} and take all classes as equally likely, in
  the covariance too (ours leaves classes of one row out of it). `CalibratedClassifierCV` gets the same frozen
  classifier, and all val rows in one fold. The reference's recipes run with its settings for ImageNet-LT on every
  set; nothing was tuned for them, as little as for ours by default.
- **Left out** where one pass over the rows is more than {most:,.0f} million products (rows x columns x classes), for
  most of their fits would only meet the limit: over-sampling, which has as many rows of every class as of the largest,
  and plain classifiers with a tuned decay and balanced `LogisticRegression` with a tuned C ({values} passes for one).
- **ECE** has 15 bins of equal width; balanced and few-shot accuracy are means over classes. Lines above say "beyond two
  standard errors" for differences paired row by row; the choice of the val rows and of the seed is not in them.

## The tables

Times in seconds, memory in megabytes, accuracies and ECE in percent.

{tables}

## What this does not say

- Heads on cached features are compared, not the training of a backbone.
- One seed, one machine; where two figures are close, another seed may turn them.
- Class weights, over-sampling and `crt` at one decay approach one objective, so their accuracies are close where they
  get to its minimum; what differs is time and memory. `crt` stops before it by default, which regularises.
- The reference's code reads images anew in every epoch. Here its recipes get cached features, which it does not have.

## Run it again

<!-- not run: it installs, needs the study's caches, and takes half an hour -->
```sh
pip install -c constraints.txt '.[bench]'    # imbalanced-learn; only this comparison needs it
python benchmarks/study.py                   # makes the caches of the real sets
python benchmarks/peers.py --limit {limit}
```

`--data` names the sets, or the folder of any cache; `--candidates` some rows of the table; `--only report` writes this
page from what was measured before.
"""


def page(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """The page. sets: name -> what was measured."""
    made = list(sets.values())
    return TEMPLATE.format(
        verdict="\n".join(f"- {each}." for each in sentences(sets)),
        better=_better(sets),
        best=_best(sets),
        machine="\n\n".join(
            f"`{line}`" for line in dict.fromkeys("; ".join(each["machine"].split("\n")) for each in made)
        ),
        threads=_alternatives(each["threads"] for each in made),
        limit=_alternatives(f"{each['limit']:g}" for each in made),
        short=SHORT,
        unnoticed=UNNOTICED,
        runs=RUNS,
        grace=GRACE,
        decay=DECAY,
        shrinkage=SHRINKAGE,
        most=MOST / 1e6,
        values=VALUES,
        aside=ASIDE,
        tables="\n\n".join(_table(each) for each in made),
    )


def _alternatives(values: Any) -> str:
    return " or ".join(dict.fromkeys(map(str, values)))


def _better(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """The paragraph and table of what peers do better; nothing where there is nothing."""
    rows = [_row(cells) for cells in better(sets)]
    if not rows:
        return ""
    head = [_row(("data", "peer", "what is better", "the peer's", "ours", "compared with")), _row(["---"] * 6)]
    return "\n".join(
        ["Where a peer is quicker or more accurate (memory: the line above and the tables):", "", *head, *rows, "", ""]
    )


def _best(sets: Mapping[str, Mapping[str, Any]]) -> str:
    side = ("balanced", "fit, s")
    head = ("data", "peers' time to ours, median (most)", "best of ours", *side, "best peer", *side)
    lines = ("---", "---:", *("---", "---:", "---:") * 2)
    return "\n".join([_row(head), _row(lines), *map(_row, best(sets))])


def _table(made: Mapping[str, Any]) -> str:
    facts = made["facts"]
    rows = facts["rows"]
    origin = "comes with the features" if facts["own_head"] else "is a plain linear one, fitted here before"
    few = facts["few_classes"]
    said = (
        f"{rows['train']:,} training, {rows['val']:,} validation and {rows['test']:,} test rows of {facts['width']:,} "
        f"{facts['dtype']} features; {facts['classes']:,} classes of {facts['largest']:,} down to "
        f"{facts['smallest']:,} training rows, {few or 'none'} of them few-shot ({facts['rule']}); "
        f"the classifier `joint` {origin}."
    )
    if len(made["rows"]) < len(made["asked"]):
        said += f" The run was stopped after {len(made['rows'])} of {len(made['asked'])} rows."
    return f"### {facts['title']}\n\n{said}\n\n{markdown(made['rows'])}"
