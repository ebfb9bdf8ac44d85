"""``rebalance evaluate``: heads judged on one split, a row a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from .gathered import Sectioned
from .judging.options import Files, Judging, judging_options
from .judging.scoreboard import JOINT
from .launch import first, shared
from .options import Common, common, example
from .output import clean, emit

if TYPE_CHECKING:
    from featurecache import FeatureCache
    from rebalance import LinearHead, Report

FORMATS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class AllFiles(Files):
    """The files of this command; figure: the one picture."""

    figure: Path | None


class EvaluateCommand(Sectioned):
    """The command of these options."""

    sections: ClassVar = {"Judging": Judging, "Files": AllFiles}


@click.command(
    cls=EvaluateCommand,
    epilog=example(
        "rebalance evaluate photos.cache tau.safetensors crt.safetensors --figure before-after.png",
        "rebalance evaluate photos.cache crt.safetensors --target-prior backward:50 --predictions rows.csv",
    ),
    short_help="Judge heads on a split: many, medium and few classes.",
)
@click.argument("cache", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[HEAD]...")
@judging_options
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="HEAD",
    help="The HEAD whose figures are taken from the others', with intervals  [default: the joint one].",
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw recall per class and weight norms (.png, .svg, .pdf).",
)
@common
@shared()
def evaluate(
    cache: Path,
    files: tuple[Path, ...],
    judging: Judging,
    against: Path | None,
    figure: Path | None,
    common: Common,
) -> dict[str, Any]:
    """Judge the joint head of CACHE and every HEAD on one split, the best first.

    Accuracies and calibration errors (ECE) are percentages. Balanced, many, medium, few and worst are the mean and
    the least of the recalls per class. A figure that is not defined is a dash. On a terminal a difference is green or
    red where its 95 % interval excludes 0.

    A star marks a head whose hyperparameters were tuned on the very rows that are reported, or that was fitted on
    them: its row is optimistic. --seed is of the draws that the intervals are from.
    """
    from featurecache import FeatureCache

    from .caches import verify
    from .judging.judged import criteria, finish, judge, open_heads, payload_of, show

    if figure is not None and (figure.suffix.lower() not in FORMATS or not figure.parent.is_dir()):
        raise ValueError(f"--figure {figure}: expected a {', '.join(FORMATS)} file in a folder that is there")
    opened = FeatureCache(cache)
    counts = criteria(opened, judging).counts
    if figure is not None and counts is None:
        raise ValueError(f"{opened.path}: no split called train, so the classes have no training counts to draw")
    heads, paths = open_heads(opened, files, common)
    if not heads:
        raise ValueError(f"{cache}: this cache has no head and none was given; name one, such as crt.safetensors")
    before = _reference(against, heads, paths)
    verify(opened, [judging.split])
    reports = judge(opened, heads, judging, common)
    payload = payload_of(opened, cache, heads, reports, judging, common, paths, against=before)
    names = [head["name"] for head in payload["heads"]]
    before = before if before in heads else names[-1]
    after = next((name for name in names if name != before), None)
    finish(payload, opened, heads, reports, judging, common, before=before, after=after, page=False)
    if figure is not None:
        if first():
            _draw(figure, opened, heads, reports)
        payload["figure"] = str(figure)
    if not emit(payload, as_json=common.as_json):
        show(payload, full=judging.full)
        for what in ("predictions", "figures", "figure"):
            if what in payload:
                click.echo(f"{what}: {clean(str(judging.figures if what == 'figures' else payload[what]), 300)}")
    return payload


def _reference(against: Path | None, heads: Mapping[str, LinearHead], paths: Mapping[str, Path | None]) -> str:
    """The name of the head that the others are compared with; ValueError where the one asked for is none of them."""
    if against is None:
        return JOINT
    for name, path in paths.items():
        if against == path or (str(against) == name and path is None):
            return name
    raise ValueError(f"--against {against}: expected one of the heads that are judged: {', '.join(map(clean, heads))}")


def _draw(path: Path, opened: FeatureCache, heads: Mapping[str, LinearHead], reports: Mapping[str, Report]) -> None:
    import torch

    from rebalance.report.figures import before_after

    norms = {name: torch.linalg.vector_norm(head.weight, dim=1).cpu().numpy() for name, head in heads.items()}
    recalls = {name: report.recall for name, report in reports.items()}
    before_after(recalls, norms, opened.counts, class_names=opened.class_names).write(path)
