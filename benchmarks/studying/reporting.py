"""Everything that is written: the results, the page and its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import drawings, ledger, tables
from .evidence import BALANCED, Evidence, gather
from .page import page
from .planning import CLASSIFIERS
from .sets import StudySet
from .steps import Marks, Step
from .verdicts import FINDINGS, Verdict

ROOT = Path(__file__).resolve().parents[2]
JSON, TEXT = Path("benchmarks/results/study.json"), Path("benchmarks/results/study.txt")
PAGE, FIGURES = Path("docs/study.md"), Path("docs/figures/study")


def report(work: Path, sets: Sequence[StudySet], steps: Sequence[Step], marks: Marks, machine: str, into: Path) -> str:
    """Judge what is there and write it all: the text of the results.

    machine: it and the versions, two lines. into: the folder that holds docs/ and benchmarks/.
    ValueError where nothing is there to judge.
    """
    gathered = [gather(work, made, steps, marks) for made in sets]
    found = [each for each in gathered if each is not None]
    if not found:
        raise ValueError(f"{work}: no comparison is done yet; expected a study that was run")
    judged = {each.made.name: {finding.name: finding.judge(each) for finding in FINDINGS} for each in found}
    drawn = {each.made.name: drawings.all_drawings(each) for each in found}
    for path in (JSON, PAGE):
        (into / path).parent.mkdir(parents=True, exist_ok=True)
    for each in drawn.values():
        drawings.save(each, into / FIGURES)
    rows = ledger.lines(work / "steps.jsonl")
    names = {step.name for step in steps}
    took = ledger.spent([row for row in rows if row["name"] in names])
    undone = [step for step in steps if not marks.done(step)]
    seeds = len({seed for each in found for _, seed in each.caches})
    numbers = {"machine": machine.splitlines(), "seconds": ledger.seconds(rows), "spent": took,
               "undone": [step.name for step in undone],
               "sets": {each.made.name: _numbers(each, judged[each.made.name]) for each in found}}  # fmt: skip
    (into / JSON).write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    text = _text(found, judged, machine, took, undone)
    (into / TEXT).write_text(text + "\n", encoding="utf-8")
    where = f"{machine.splitlines()[0]}; {machine.splitlines()[-1]}. {_took(took)}"
    if undone:
        where += f" {len(undone)} of {len(steps)} steps are not done: what needs them is missing here."
    figures = FIGURES.relative_to(PAGE.parent).as_posix()
    written = page(found, judged, drawn, seeds=seeds, machine=where, figures=figures)
    (into / PAGE).write_text(written, encoding="utf-8")
    return text


def _took(took: Mapping[str, float]) -> str:
    return (
        f"All steps took {took['cpu']:.0f} minutes of processor time: {took['cpu'] / 2:.0f} for each of two cores, if "
        f"they have nothing else to do. By the clock it was {took['clock']:.0f} minutes, with the processes side by "
        f"side, one thread each, on a machine that others used too (load {took['load']:.1f} on average). Fetching the "
        "data and drawing the icons is not counted."
    )


def _text(
    found: Sequence[Evidence],
    judged: Mapping[str, Mapping[str, Verdict]],
    machine: str,
    took: Mapping[str, float],
    undone: Sequence[Step],
) -> str:
    titles = {each.made.name: each.made.title for each in found}
    parts = [f"{machine}\n{_took(took)}", tables.lines([("the findings", tables.verdicts(judged, titles))])]
    if undone:
        parts[0] += f"\n{len(undone)} steps are not done, {undone[0].name} is the first"
    for each in found:
        said = [f"{finding.name}: {judged[each.made.name][finding.name].word}. "
                f"{' '.join(judged[each.made.name][finding.name].said)}" for finding in FINDINGS]  # fmt: skip
        parts.append("\n".join([f"{each.made.title}: {each.shots.rule}", *said]))
        several = [("the whole design, percent", tables.every_representation(each))] if each.trained else []
        several += [("methods", tables.methods(each)), ("probabilities", tables.probabilities(each))]
        several += [("what is trained on", tables.tuned(each))] if each.tuned else []
        several += [("Spearman of norm and training rows", tables.norm_correlations(each))]
        parts.append(tables.lines(several))
    return "\n\n".join(parts)


def _numbers(found: Evidence, verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """All figures of a set as plain JSON values."""
    groups = found.groups()

    def figures(right: dict[int, Any]) -> dict[str, Any]:
        made = {group: found.figure(right, weights) for group, weights in groups.items()}
        return {group: each.to_dict() for group, each in made.items() if each is not None}

    methods = {
        representation: {
            name: {
                **figures(found.right(representation, name)),
                **({} if name == BALANCED else _probabilities(found, representation, name)),
            }
            for name in ([*CLASSIFIERS, BALANCED] if representation != found.first else [*heads, BALANCED])
        }
        for representation, heads in found.heads.items()
    }
    return {
        "title": found.made.title,
        "rule": found.shots.rule,
        "counts": found.counts.tolist(),
        "test_rows": len(found.labels),
        "classes": {group: int((weights > 0).sum()) for group, weights in groups.items()},
        "methods": methods,
        "chosen": {each: found.chosen(each) for each in found.heads},
        "tuned": {part: figures(right) for part, right in found.tuned.items()},
        "verdicts": {name: {"word": each.word, "said": each.said} for name, each in verdicts.items()},
    }


def _probabilities(found: Evidence, representation: str, name: str) -> dict[str, Any]:
    heads = found.heads[representation].get(name, {})
    return {key: {seed: getattr(head, key) for seed, head in heads.items()} for key in ("nll", "ece", "value")}
