"""What a comparison comes to, after the heads are made: all of them judged, and what is said of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..judging.columns import GOALS
from ..launch import first
from ..output import clean
from .contest import JOINT, Contest, Entry
from .kept_heads import reason

if TYPE_CHECKING:
    from featurecache import FeatureCache
    from rebalance import LinearHead, Report
    from rebalance.report.drawing import Drawing

    from ..judging.options import Judging
    from ..options import Common


def compared(
    contest: Contest,
    entries: Sequence[Entry],
    others: Mapping[str, tuple[LinearHead, Path | None]],
    cache: Path,
    judging: Judging,
    common: Common,
    out: Path | None,
) -> dict[str, Any]:
    """Everything that is known of the heads, as plain JSON values; the files that were asked for are written.

    entries: of all methods. others: heads besides, by name, and their files. out: the page.
    ValueError where there is no head that can be judged.
    """
    from ..judging.judged import finish, payload_of, unused

    taken: dict[str, Any] = {entry.name: entry for entry in entries}
    for name, (head, path) in others.items():
        own = unused(name, taken)
        taken[own] = contest.given(own, head, path)
    entries = list(taken.values())
    heads = {entry.name: entry.head for entry in entries if entry.head is not None}
    paths = {entry.name: entry.file for entry in entries}
    if not heads:
        raise ValueError(
            f"{cache}: no head to judge: {'; '.join(f'{each.name}: {each.why}' for each in entries)[:500]}"
        )
    reports, unjudged = reports_of(contest.cache, heads, judging, common)
    payload = payload_of(contest.cache, cache, heads, reports, judging, common, paths, metric=contest.rule.metric)
    failed = {entry.name: entry.why for entry in entries if entry.why is not None} | unjudged
    payload["failed"] = [{"name": name, "why": why} for name, why in failed.items()]
    add_choice(payload, contest, entries)
    after = contest.best([entry for entry in entries if entry.name in reports and entry.name != JOINT])
    drawings = finish(
        payload, contest.cache, heads, reports, judging, common,
        before=JOINT if JOINT in reports else None, after=None if after is None else after.name, page=out is not None,
    )  # fmt: skip
    if out is not None:
        write_page(out, payload, drawings)
        payload["report"] = str(out)
    return payload


def reports_of(
    opened: FeatureCache, heads: Mapping[str, LinearHead], judging: Judging, common: Common
) -> tuple[dict[str, Report], dict[str, str]]:
    """The report of every head that can be judged, by name, and why the others cannot.

    ValueError where none can.
    """
    from ..judging.judged import judge

    try:
        return judge(opened, heads, judging, common), {}
    except ValueError as error:
        reports: dict[str, Report] = {}
        failed: dict[str, str] = {}
        for name, head in heads.items():
            try:
                reports |= judge(opened, {name: head}, judging, common)
            except ValueError as own:
                failed[name] = reason(own)
        if not reports:
            raise error
        return reports, failed


def add_choice(payload: dict[str, Any], contest: Contest, entries: Sequence[Entry]) -> None:
    """Add to the payload of judged heads how they were made, which is best on the judging rows, and who failed.

    entries: of all methods; one that is not among the heads of the payload has failed.
    """
    rows = {head["name"]: head for head in payload["heads"]}
    there = [entry for entry in entries if entry.name in rows]
    chosen = contest.best(there)
    payload["chosen"] = None if chosen is None else chosen.name
    payload["chosen_on"] = None if chosen is None else contest.judging.name
    payload["chosen_by"] = contest.goal.key
    payload["validation"] = {entry.name: entry.value for entry in there if entry.value is not None}
    said: dict[str, list[str]] = {}
    for entry in there:
        rows[entry.name] |= {"reused": entry.reused, "seconds": round(entry.seconds, 3)}
        rows[entry.name]["notes"] = [*rows[entry.name]["notes"], *entry.notes]
        for text in entry.notes:
            said.setdefault(text, []).append(entry.name)
    payload["notes"] = [*payload["notes"], *(f"{', '.join(names)}: {text}" for text, names in said.items())]
    payload["provenance"]["options"] |= {
        **asdict(contest.rule),
        "on": contest.judging.name,
        "methods": [entry.name for entry in entries],
        "heads": str(contest.kept.folder),
    }


def write_page(path: Path, payload: Mapping[str, Any], drawings: Sequence[Drawing]) -> None:
    """Write the page under a temporary name and rename it; one process of several does."""
    from rebalance.report.page import render
    from rebalance.whole_file import whole_file

    if not first():
        return
    with whole_file(path) as file:
        file.write(render(payload, drawings).encode("utf-8"))


def say_what_next(payload: Mapping[str, Any], entries: Sequence[Entry], opened: FeatureCache, cache: Path) -> None:
    """Say how the chosen head goes back into the model, or where it lies, and which files were written."""
    chosen = next((entry for entry in entries if entry.name == payload["chosen"]), None)
    head = next((head for head in payload["heads"] if head["name"] == payload["chosen"]), None)
    on, split = clean(str(payload["chosen_on"])), clean(payload["split"])
    if chosen is not None and chosen.name == JOINT:
        click.echo(f"no head is better than the joint one on {on}: leave the model as it is")
        return _files(payload)
    found = ((head or {}).get("difference") or {}).get(payload["goal"])
    if found is not None and found["low"] is not None and found["low"] <= 0 <= found["high"]:
        click.echo(
            f"but {split} does not tell it from the joint head ({GOALS[payload['goal']].spanned(found)}): judge both "
            "on more rows before you replace one by the other"
        )
    if chosen is not None and chosen.file is not None:
        command = _export(chosen, opened, cache)
        click.echo(f"to use it: {command}" if command else f"its head: {clean(str(chosen.file), 300)}")
    return _files(payload)


def _files(payload: Mapping[str, Any]) -> None:
    """Say which files were written."""
    for name in ("predictions", "figures", "report"):
        if written := payload.get(name):
            where = str(Path(written[0]).parent) if name == "figures" else written
            click.echo(f"{name}: {clean(where, 300)}")


def _export(chosen: Entry, opened: FeatureCache, cache: Path) -> str | None:
    """The command that puts a head into the checkpoint it belongs to; None where that is not known.

    A head that is more than one weight and bias is written as a program of its own.
    """
    from rebalance import LinearHead

    if chosen.file is None:
        return None
    source = str(opened.plan.specification.get("model"))
    near = {each.absolute() for each in (chosen.file.parent, chosen.file.parent.parent, Path())}
    words = ["--module", "rebalanced.pt2"]
    into: list[str] = []
    if type(chosen.head) is LinearHead:
        if not source.startswith("run:"):
            return None
        name = Path(source.removeprefix("run:")).name
        beside = cache.parent / name
        path = beside if beside.is_file() else Path(name)
        near.add(path.absolute().parent)
        into, words = ["--into", str(path)], ["--out", "rebalanced.pt"]
    proof = [] if cache.absolute().parent in near else ["--cache", str(cache)]
    command = shlex.join(["rebalance", "export", str(chosen.file), *into, *proof, *words])
    return command if command.isprintable() else None
