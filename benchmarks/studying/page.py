"""docs/study.md, from the template page.md beside this file and what was found."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from rebalance.report.drawing import Drawing

from . import tables
from .evidence import Evidence
from .planning import LEFT_OUT, SAMPLERS
from .recipes import counted, training
from .verdicts import FINDINGS, Verdict

TEMPLATE = Path(__file__).with_name("page.md")
ONCE = (
    "There is one repetition: the intervals cover new test rows only, nothing of what another training would bring. So "
    "every finding but that on the norms cannot be told."
)
MISSING = "There is one repetition, so the second part is missing here."
CORRELATION = (
    "Spearman's correlation of weight norm and training rows. τ-normalisation with τ below 1 keeps the order of the "
    "norms, so its ρ is the joint classifier's by construction:"
)
BADLY = "With so few repetitions the second part is known badly, so where it is the larger one the intervals are wide."
WIDTH = 120
Judged = Mapping[str, Mapping[str, Verdict]]  # by set and finding


def page(
    found: Sequence[Evidence],
    judged: Judged,
    drawings: Mapping[str, Sequence[Drawing]],
    *,
    seeds: int,
    machine: str,
    figures: str,
) -> str:
    """The page as Markdown.

    found: of every set. drawings: by set. machine: where and how long it ran, a paragraph. figures: the folder of the
    pictures, as the page refers to it.
    """
    titles = {each.made.name: each.made.title for each in found}
    filled = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        verdicts=tables.markdown(tables.verdicts(judged, titles)),
        findings="\n\n".join(_finding(name, judged, titles) for name in range(len(FINDINGS))),
        samplers=len(SAMPLERS),
        repetitions=counted(seeds, "repetition"),
        once=f"\n\n{_wrapped(ONCE)}" if seeds == 1 else "",
        intervals=MISSING if seeds == 1 else BADLY,
        covered="new test rows" if seeds == 1 else "new test rows and new repetitions",
        sets="\n\n".join(_set(each, drawings[each.made.name], figures) for each in found),
        left_out=_left_out(found),
        machine=_wrapped(machine),
    )
    return "\n".join(line.rstrip() for line in filled.splitlines()) + "\n"


def _finding(place: int, judged: Judged, titles: Mapping[str, str]) -> str:
    """What was asked, and what every set says."""
    finding = FINDINGS[place]
    parts = [f"### {place + 1}. {finding.claim}", _wrapped(finding.rule)]
    open_ = False
    items = []
    for name, verdicts in judged.items():
        verdict = verdicts[finding.name]
        if verdict.word != "not asked":
            items.append(_wrapped(f"- {titles[name]}: **{verdict.word}**. {' '.join(verdict.said)}", indent="  "))
            open_ = open_ or verdict.word != "confirmed"
    parts.append("\n".join(items) if items else "No set asks it.")
    if open_ and items:
        parts.append(_wrapped(f"Where it does not hold or cannot be told, a guess: {finding.guess}."))
    return "\n\n".join(parts)


def _set(found: Evidence, drawings: Sequence[Drawing], figures: str) -> str:
    """The section of one set."""
    drawn = {drawing.name.rpartition("-")[0]: drawing for drawing in drawings}
    made, groups = found.made, found.groups()
    sizes = ", ".join(f"{name} {int((weights > 0).sum())}" for name, weights in groups.items() if name != "all")
    about = (
        f"{made.source} {len(found.counts):,} classes, {int(found.counts.sum()):,} training rows "
        f"({int(found.counts.max()):,} of the largest class, {int(found.counts.min()):,} of the smallest), "
        f"{len(found.labels):,} test rows. Groups: {found.shots.rule}; classes: {sizes}."
    )
    parts = [f"## {made.title}", _wrapped(about)]
    if said := training(made):
        parts.append(_wrapped(said))
    if found.trained:
        parts += ["### Representation and classifier", tables.markdown(tables.representations(found))]
        parts += _picture(drawn.get("matrix"), figures)
        parts += ["The same with the groups of classes:", tables.markdown(tables.every_representation(found))]
    parts += ["### Classifiers on " + ("the instance-balanced representation" if found.trained else "these features")]
    parts += [tables.markdown(tables.methods(found)), *_picture(drawn.get("methods"), figures)]
    said = "Means over the repetitions, on the test rows as they come; calibrations are fitted on validation."
    parts += ["### Probabilities", said, tables.markdown(tables.probabilities(found))]
    if found.tuned:
        parts += [
            "### Classifier or trunk",
            tables.markdown(tables.tuned(found)),
            *_picture(drawn.get("tuning"), figures),
        ]
    parts += ["### Norms and cones"]
    parts += [
        _wrapped(CORRELATION),
        tables.markdown(tables.norm_correlations(found)),
    ]
    for name in ("norms", "cones"):
        parts += _picture(drawn.get(name), figures)
    return "\n\n".join(parts)


def _picture(drawing: Drawing | None, figures: str) -> list[str]:
    if drawing is None:
        return []
    return [f"![{drawing.title}]({figures}/{drawing.name}.svg)", _wrapped(drawing.caption)]


def _left_out(found: Sequence[Evidence]) -> str:
    there = {each.made.name: each.made.title for each in found}
    parts = [f"{' and '.join(names)} on {there[name]}" for name, names in LEFT_OUT.items() if name in there]
    if not parts:
        return "- Every method was fitted on every set."
    return _wrapped(f"- Not fitted, for the time they take: {'; '.join(parts)}.", indent="  ")


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
