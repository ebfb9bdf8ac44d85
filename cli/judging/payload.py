"""Everything that is known of judged heads, as plain JSON values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import Common
from .columns import GOALS
from .same_rows import share_rows
from .scoreboard import JOINT, TUNED_ON_SEEN

if TYPE_CHECKING:
    from featurecache import FeatureCache, Split
    from rebalance import LinearHead, Report

    from .options import Judging


def payload_of(
    opened: FeatureCache,
    cache_path: Path,
    heads: Mapping[str, LinearHead],
    reports: Mapping[str, Report],
    options: Judging,
    common: Common,
    files: Mapping[str, Path | None],
    *,
    against: str = JOINT,
    metric: str = "balanced",
) -> dict[str, Any]:
    """Everything that is known of the heads, as plain JSON values; the best first, by `Judging.goal`.

    reports, files: by head; None for a head that is no file. against: the head whose figures are taken from the
    others'. metric: what is best where neither prior nor costs are given.
    """
    from ..caches import train_counts

    rows = opened[options.split]
    some = next(iter(reports.values()))
    names = opened.class_names
    counts = train_counts(opened)
    notes = list(dict.fromkeys(note for report in reports.values() for note in report.notes))
    if counts is None:
        notes.append("the cache has no split called train, so no class is many, medium or few")
    goal = GOALS[options.goal(metric)]
    same = _same(opened, rows, heads.values())
    ranked = sorted(reports, key=lambda name: getattr(reports[name], goal.key) * (1 if goal.lower else -1))
    return {
        "cache": str(cache_path),
        "split": options.split,
        "rows": len(rows),
        "shots": {"few": options.shots[0], "many": options.shots[1], "closed": options.few_includes_bound},
        "rule": some.rule if counts is not None else "no shot groups, for the cache has no training rows",
        "target_prior": options.target_prior and Path(options.target_prior).name,
        "costs": None if options.costs is None else options.costs.name,
        "replicates": options.replicates,
        "seed": common.seed,
        "goal": goal.key,
        "against": against if against in reports else None,
        "notes": notes,
        "heads": [_entry(name, heads[name], reports, rows, same, files.get(name), against) for name in ranked],
        "failed": [],
        "chosen": None,
        "chosen_on": None,
        "classes": {
            "names": None if names is None else list(names),
            "counts": None if counts is None else counts.tolist(),
            "rows": some.class_rows.tolist(),
        },
        "provenance": _provenance(opened, rows, options, common),
    }


def marks(head: LinearHead, rows: Split, same: Collection[str] = ()) -> list[str]:
    """What makes a head's figures on these rows optimistic. same: other splits that hold some of them too."""
    out = []
    if (mark := _made_on("tuned", head.record.get("tuned_on"), rows.name, same)) is not None:
        out.append(mark)
    if head.record.get("tuned_on_seen") is True:
        out.append(TUNED_ON_SEEN)
    if (mark := _made_on("fitted", head.record.get("fitted_on"), rows.name, same)) is not None:
        out.append(mark)
    if rows.seen:
        out.append(f"the backbone was trained on {rows.name}")
    return out


def _made_on(how: str, split: Any, reported: str, same: Collection[str]) -> str | None:
    """That a head was tuned or fitted on what is reported, if it was."""
    if split == reported:
        return f"{how} on {split}"
    return f"{how} on {split}, which holds rows of {reported}" if isinstance(split, str) and split in same else None


def _same(opened: FeatureCache, rows: Split, heads: Iterable[LinearHead]) -> set[str]:
    """The other splits that one of the heads was made on and that hold some of these rows."""
    made_on = {head.record.get(how) for head in heads for how in ("tuned_on", "fitted_on")}
    there = {name for name in made_on if isinstance(name, str) and name in opened.complete} - {rows.name}
    return {name for name in there if share_rows(opened[name], rows)}


def _entry(
    name: str,
    head: LinearHead,
    reports: Mapping[str, Report],
    rows: Split,
    same: Collection[str],
    file: Path | None,
    against: str,
) -> dict[str, Any]:
    """One head of the payload."""
    from rebalance.metrics import FIGURES

    report, other = reports[name], reports.get(against)
    difference = mcnemar = None
    if other is not None and name != against:
        found = report.difference(other)
        difference = {figure: found[figure].to_dict() for figure in FIGURES if figure in found}
        test = report.mcnemar(other)
        mcnemar = {"only_head": test.only_self, "only_other": test.only_other, "p": test.p}
    return {
        "name": name,
        **report.to_dict(),
        "difference": difference,
        "mcnemar": mcnemar,
        "confusions": _confusions(report),
        "marks": marks(head, rows, same),
        "record": _finite(dict(head.record)),
        "file": None if file is None else str(file),
    }


def _confusions(report: Report) -> list[list[int]]:
    """Label, prediction and rows of every wrong pair that occurs, most rows first."""
    from rebalance.metrics import confusions

    found = confusions(report.results, len(report.class_rows))
    return [[int(value) for value in pair] for pair in zip(*found, strict=True)]


def _finite(value: Any) -> Any:
    """The same JSON value without NaN and infinity, which JSON does not have and a stranger's file may."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _provenance(opened: FeatureCache, rows: Split, options: Judging, common: Common) -> dict[str, Any]:
    """Where the figures are from: the cache, the versions, the options."""
    from ..caches import provenance

    given = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    from_cache = provenance(opened)
    return {
        "cache": opened.hash,
        "joint": from_cache["joint"],
        "layer": from_cache["layer"],
        "versions": from_cache["versions"],
        "options": {**given, "shots": list(options.shots), "device": common.device_name},
        "seed": common.seed,
        "created_with": _finite(opened.plan.splits[rows.name].made_with),
    }
