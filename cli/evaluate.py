"""``rebalance evaluate``: heads judged on one split, a row a head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .launch import first, shared
from .options import Common, common, example, shots, shots_option
from .output import clean, emit, percent, table

if TYPE_CHECKING:
    from featurecache import FeatureCache, Split
    from rebalance import LinearHead, Report

FORMATS = (".png", ".svg", ".pdf")
COLUMNS = ("top-1", "balanced", "many", "medium", "few", "macro F1", "NLL", "ECE")


@click.command(
    epilog=example("rebalance evaluate photos.cache tau.safetensors crt.safetensors --figure before-after.png"),
    short_help="Judge heads on a split: many, medium and few classes.",
)
@click.argument("cache", type=click.Path(path_type=Path))
@click.argument("heads", nargs=-1, type=click.Path(path_type=Path), metavar="[HEAD]...")
@click.option("--split", default="test", show_default=True, help="The split to report.")
@shots_option
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    help="Also draw recall per class and weight norms (.png, .svg, .pdf).",
)
@common
@shared()
def evaluate(
    cache: Path,
    heads: tuple[Path, ...],
    split: str,
    shots: tuple[int, int],
    figure: Path | None,
    common: Common,
) -> dict[str, Any]:
    """Judge the joint head of CACHE and every HEAD on one split.

    Accuracies are percentages; balanced, many, medium and few are means of the recall per class. A star marks a head
    whose hyperparameters were tuned on the very rows that are reported, or that was fitted on them: its row is
    optimistic. Nothing is drawn at random: --seed changes nothing.
    """

    from .caches import cached_head, open_cache, open_head

    if figure is not None and (figure.suffix.lower() not in FORMATS or not figure.parent.is_dir()):
        raise ValueError(f"--figure {figure}: expected a {', '.join(FORMATS)} file in a folder that is there")
    opened = open_cache(cache, split)
    rows = opened[split]
    judged: dict[str, LinearHead] = {}
    if (joint := cached_head(opened, common.device)) is not None:
        judged["joint"] = joint
    for path in heads:
        judged[_unused(path.stem, judged)] = open_head(path, opened, common.device)
    if not judged:
        raise ValueError(f"{cache}: this cache has no head and none was given; name one, such as crt.safetensors")
    reports = {name: _report(head, opened, rows, shots) for name, head in judged.items()}
    payload = {
        "cache": str(cache),
        "split": split,
        "rows": len(rows),
        "shots": {"few": shots[0], "many": shots[1]},
        "heads": [
            {
                "name": name,
                **reports[name].to_dict(),
                "marks": _marks(head, rows),
                "record": dict(head.record),
            }
            for name, head in judged.items()
        ],
    }
    if figure is not None and first():
        _draw(figure, judged, reports, opened)
        payload["figure"] = str(figure)
    if not emit(payload, as_json=common.as_json):
        _show(payload, next(iter(reports.values())))
    return payload


def _report(head: LinearHead, cache: FeatureCache, rows: Split, bounds: tuple[int, int]) -> Report:
    from rebalance import evaluate_head

    from .caches import train_counts

    return evaluate_head(head, rows.features, rows.labels, train_counts(cache), shots=shots(bounds))


def _marks(head: LinearHead, rows: Split) -> list[str]:
    """What makes a head's row optimistic on these rows."""
    marks = []
    if head.record.get("tuned_on") == rows.name:
        marks.append(f"tuned on {rows.name}")
    if head.record.get("fitted_on") == rows.name:
        marks.append(f"fitted on {rows.name}")
    if rows.seen:
        marks.append(f"the backbone was trained on {rows.name}")
    return marks


def _show(payload: dict[str, Any], first: Report) -> None:
    figures = ("top1", "balanced", "many", "medium", "few", "macro_f1")
    rows = [
        [
            head["name"] + (" *" if head["marks"] else ""),
            *(percent(head[name]) for name in figures),
            f"{head['nll']:.3f}",
            percent(head["ece"]),
        ]
        for head in payload["heads"]
    ]
    table(["head", *COLUMNS], rows, caption=f"{payload['split']}: {first.rows} labelled rows; {first.rule}")
    for head in payload["heads"]:
        if head["marks"]:
            click.echo(f"* {clean(head['name'])}: {', '.join(head['marks'])}; its figures are optimistic")
    if "figure" in payload:
        click.echo(f"figure: {payload['figure']}")


def _draw(path: Path, heads: dict[str, LinearHead], reports: dict[str, Report], cache: FeatureCache) -> None:
    import torch

    from rebalance.report import figures

    from .caches import train_counts

    counts = train_counts(cache)
    if counts is None:
        raise ValueError(f"{cache.path}: no split called train, so the classes have no training counts to draw")
    norms = {name: torch.linalg.vector_norm(head.weight, dim=1).cpu().numpy() for name, head in heads.items()}
    recalls = {name: report.recall for name, report in reports.items()}
    drawing = figures.before_after(recalls, norms, counts, class_names=cache.class_names)
    figures.save(drawing, path)


def _unused(name: str, taken: dict[str, Any]) -> str:
    """The name, with a number where another head has it already."""
    number, free = 2, name
    while free in taken:
        number, free = number + 1, f"{name}-{number}"
    return free
