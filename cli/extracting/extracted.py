"""What ``rebalance extract`` says when it is done: rows, speed, where the time went, bad images, accuracy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ..caches import cached_head, train_counts
from ..options import Common, shots
from ..output import clean, percent, table

if TYPE_CHECKING:
    from featurecache import FeatureCache
    from featurecache.extract import Extraction

STAGES = {"decode": "loading", "forward": "model", "write": "writing"}
SHOWN = 5  # bad images that are named
JUDGED = 100_000  # rows of a split that are judged, at most: a check must not cost more than the extraction


def summary(
    cache: FeatureCache, done: Extraction, splits: Collection[str], bounds: tuple[int, int], common: Common
) -> dict[str, Any]:
    """Everything as plain JSON values. splits: that were asked for. bounds: of the shot groups."""
    whole = not done.unfinished
    rows = sum(done.written.values())
    return {
        "cache": str(cache.path),
        "layer": done.layer,
        "head": cache.plan.specification.get("head") is not None,
        "batch_size": done.batch_size,
        "written": done.written,
        "complete_already": done.kept,
        "unfinished": done.unfinished,
        "seconds": round(done.seconds, 3),
        "rows_per_second": round(rows / done.seconds, 1) if rows and done.seconds else None,
        "stages": {stage: round(seconds, 3) for stage, seconds in done.stages.items()},
        "bad_images": _bad(cache, done, splits) if whole else {},
        "accuracy": accuracies(cache, splits, bounds, common) if whole else {},
    }


def _bad(cache: FeatureCache, done: Extraction, splits: Collection[str]) -> dict[str, list[dict[str, str | None]]]:
    """By split, the samples that could not be read, and why where it was now."""
    out: dict[str, list[dict[str, str | None]]] = {}
    for name in splits:
        lost = np.flatnonzero(cache[name].status)
        reasons = iter(done.unreadable.get(name, []))
        told = len(done.unreadable.get(name, [])) == len(lost)
        ids = [str(cache[name].sample_id[int(row)]) for row in lost]
        if ids:
            out[name] = [{"sample": sample, "reason": next(reasons) if told else None} for sample in ids]
    return out


def accuracies(
    cache: FeatureCache, names: Collection[str], bounds: tuple[int, int], common: Common
) -> dict[str, dict[str, Any]]:
    """The joint classifier's figures on every split that has labels: a wrong label order shows at once.

    Those of a split of more than JUDGED rows are of so many, drawn from it; `rows` says of how many.
    """
    from rebalance import evaluate, evaluate_head

    head = cached_head(cache, common.device)
    counts, groups = train_counts(cache), shots(bounds)
    out = {}
    for name in names:
        split = cache[name]
        if head is None or not (split.labels >= 0).any():
            continue
        if len(split) > JUDGED:
            drawn = np.sort(np.random.default_rng(0).choice(len(split), JUDGED, replace=False))
            report = evaluate_head(head, split.features[drawn], split.labels[drawn], counts, shots=groups)
        elif split.stores_logits:
            report = evaluate(split.logits, split.labels, counts, shots=groups)
        else:
            report = evaluate_head(head, split.features, split.labels, counts, shots=groups)
        out[name] = {"rows": min(len(split), JUDGED), **report.figures()}
    return out


def show(payload: Mapping[str, Any], cache: FeatureCache, bounds: tuple[int, int]) -> None:
    """The summary for a person."""
    rows = sum(payload["written"].values())
    for name in payload["complete_already"]:
        click.echo(f"{name}: complete already, left as it is (`rebalance verify` compares it with its checksums)")
    took = f"{payload['cache']}: {rows} rows in {payload['seconds']:.1f} s"
    if payload["unfinished"]:
        left = ", ".join(f"{files} of {name}" for name, files in payload["unfinished"].items())
        click.echo(f"{took}; files left to other processes: {left}")
    elif rows:
        layer = f"layer {payload['layer']!r}"
        what = layer if payload["head"] else f"no head, output of {layer if payload['layer'] else 'the model'}"
        speed = f"{payload['rows_per_second']:.0f} rows/s"
        click.echo(f"{took} ({speed}), {what}, batches of {payload['batch_size']}")
    if rows:
        _show_stages(payload["stages"])
        if cache.plan.specification["transform"] is not None:
            click.echo(f"inputs read as: {clean(str(cache.plan.specification['transform']), 1000)}")
    _show_bad(payload["bad_images"])
    figures = ("top1", "balanced", "many", "medium", "few")
    lines = [
        [name, _rows(values["rows"], len(cache[name])), *(percent(values[figure]) for figure in figures)]
        for name, values in payload["accuracy"].items()
    ]
    if lines:
        table(["joint head", "rows", *figures], lines, caption=f"percent; {shots(bounds).rule}")


def _rows(judged: int, rows: int) -> str:
    """How many rows the figures are of."""
    return str(rows) if judged == rows else f"{judged} of {rows}"


def _show_stages(stages: Mapping[str, float]) -> None:
    """Where the time went."""
    if stages:
        said = ", ".join(f"{STAGES[stage]} {stages.get(stage, 0.0):.1f} s" for stage in STAGES)
        slowest = max(stages, key=lambda stage: stages[stage])
        advice = "; more --workers may help" if slowest == "decode" else ""
        click.echo(f"time: {said}, side by side; {STAGES[slowest]} took longest{advice}")


def _show_bad(bad: Mapping[str, list[dict[str, str | None]]]) -> None:
    """The images that could not be read."""
    for name, samples in bad.items():
        click.echo(f"{name}: {len(samples)} images could not be read; their rows have status 1 and no label:")
        for sample in samples[:SHOWN]:
            click.echo(f"  {clean(str(sample['reason'] or sample['sample']), 300)}")
        if len(samples) > SHOWN:
            click.echo(f"  and {len(samples) - SHOWN} more (--json names all)")
