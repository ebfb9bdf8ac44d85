"""The tables of the study, as Markdown: rows of cells, the figures in percent with half their 95 % interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .drawings import NORMS
from .estimates import Estimate
from .evidence import Evidence, Right
from .naming import CALLED
from .planning import CLASSIFIERS, SAMPLERS
from .verdicts import FINDINGS, Verdict

NONE = "–"
Table = list[list[str]]  # its first row is the head


def markdown(table: Table) -> str:
    """A table as Markdown."""
    first, *rows = table
    return "\n".join(f"| {' | '.join(row)} |" for row in [first, ["---"] * len(first), *rows])


def verdicts(judged: Mapping[str, Mapping[str, Verdict]], titles: Mapping[str, str]) -> Table:
    """A row a finding, a column a set. judged: by set and finding. titles: of the sets."""
    rows = [[each.claim, *(_bold(judged[name][each.name].word) for name in judged)] for each in FINDINGS]
    return [["finding", *(titles[name] for name in judged)], *rows]


def representations(found: Evidence) -> Table:
    """A row a sampler, a column a classifier: all classes. The best of a column is bold."""
    weights = found.groups()["all"]
    samplers = [sampler for sampler in SAMPLERS if sampler in found.heads]
    columns = [[found.figure(found.right(each, name), weights) for each in samplers] for name in CLASSIFIERS]
    texts = [_column(column) for column in columns]
    rows = [[CALLED[sampler], *(column[i] for column in texts)] for i, sampler in enumerate(samplers)]
    return [["backbone trained with", *(CALLED[name] for name in CLASSIFIERS)], *rows]


def grouped(found: Evidence, rows: Mapping[str, Right]) -> Table:
    """A row a head, a column a group of classes. rows: by what it is called."""
    groups = found.groups()
    there = {name: right for name, right in rows.items() if right}
    columns = [_column([found.figure(right, weights) for right in there.values()]) for weights in groups.values()]
    return [["", *groups], *([name, *(column[i] for column in columns)] for i, name in enumerate(there))]


def every_representation(found: Evidence) -> Table:
    """Sampler, classifier, and all groups: the whole design."""
    groups, rows = found.groups(), []
    for sampler in (each for each in SAMPLERS if each in found.heads):
        for name in CLASSIFIERS:
            figures = [found.figure(found.right(sampler, name), weights) for weights in groups.values()]
            rows.append([CALLED[sampler], CALLED[name], *(_text(each) for each in figures)])
    return [["backbone trained with", "classifier", *groups], *rows]


def methods(found: Evidence) -> Table:
    """Every method that decides, on the first representation."""
    names = found.methods(deciding=True)
    return grouped(found, {CALLED.get(name, name): found.right(found.first, name) for name in names})


def probabilities(found: Evidence) -> Table:
    """Accuracy of the rows as they come, NLL and ECE of all methods, means over the seeds, the least NLL first."""
    heads = {name: list(each.values()) for name, each in found.heads[found.first].items()}
    # What temperature goes on top of may differ by seed: one row.
    on_top = [each for name, own in heads.items() if " + " in name for each in own]
    rows = {name: own for name, own in heads.items() if " + " not in name}
    if on_top:
        rows["temperature, on the best on validation"] = on_top
    means = {
        CALLED.get(name, name): [float(np.mean([getattr(each, key) for each in own])) for key in ("nll", "ece")]
        for name, own in rows.items()
    }
    table = [[name, f"{nll:.3f}", f"{100 * ece:.1f}"] for name, (nll, ece) in means.items()]
    return [["", "NLL", "ECE, percent"], *sorted(table, key=lambda row: float(row[1]))]


def tuned(found: Evidence) -> Table:
    """What was trained on with class-balanced sampling, beside the joint model and cRT on the cache."""
    rows = {"joint, as it was": found.right(found.first, "joint"), "cRT on the cache": found.right(found.first, "crt")}
    return grouped(found, {**rows, **{f"images: {CALLED[part]}": right for part, right in found.tuned.items()}})


def norm_correlations(found: Evidence) -> Table:
    """Spearman's correlation of norm and training rows, a column a repetition."""
    from rebalance.report.figures.norms import spearman

    seeds = sorted({seed for _, seed in found.caches})
    rows = []
    for name in NORMS:
        values = {seed: spearman(norms, found.counts) for seed, norms in found.norms(name).items()}
        rows.append([CALLED[name], *(_rho(values.get(seed, np.nan)) for seed in seeds)])
    return [["classifier", *(f"repetition {seed + 1}" for seed in seeds)], *rows]


def _rho(value: float) -> str:
    return NONE if np.isnan(value) else f"{value:+.2f}".replace("-", "−")


def _column(figures: Sequence[Estimate | None]) -> list[str]:
    """The cells of a column, the best bold."""
    best = max((each.value for each in figures if each is not None), default=0.0)
    return [_text(each, bold=each is not None and each.value == best) for each in figures]


def _text(each: Estimate | None, *, bold: bool = False) -> str:
    if each is None:
        return NONE
    value = f"{100 * each.value:.1f}"
    return f"{f'**{value}**' if bold else value} ± {100 * each.half():.1f}"


def _bold(word: str) -> str:
    return word if word in ("not asked", "cannot be told") else f"**{word}**"


def lines(tables: Iterable[tuple[str, Table]]) -> str:
    """Tables as plain text, each under its title."""
    parts = []
    for title, table in tables:
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        text = "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        )
        parts.append(f"{title}\n{text}".replace("**", ""))
    return "\n\n".join(parts)
