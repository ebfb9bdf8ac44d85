"""``rebalance compare``: every method fitted, tuned on held-out rows and judged on one split."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from .choosing.chosen import Rule
from .choosing.options import DEFAULT, page_file, parse_methods, rule_options
from .gathered import Sectioned
from .judging.options import Files, Judging, judging_options
from .launch import first, how_to_go_on, shared
from .options import Common, common, example
from .output import emit, note

if TYPE_CHECKING:
    from featurecache import FeatureCache, Split

    from .choosing.contest import Contest, Entry


class CompareCommand(Sectioned):
    """The command of these options."""

    sections: ClassVar = {"Choosing": Rule, "Judging": Judging, "Files": Files}


@click.command(
    cls=CompareCommand,
    epilog=example(
        "rebalance compare photos.cache",
        "rebalance compare photos.cache --methods all --out report.html",
        "rebalance compare photos.cache mine.safetensors --methods crt,lws,temperature --target-prior backward:50",
    ),
    short_help="Fit, tune and judge ten classifiers, or all: one table, one page.",
)
@click.argument("cache", type=click.Path(path_type=Path))
@click.argument("heads", nargs=-1, type=click.Path(path_type=Path), metavar="[HEAD]...")
@click.option(
    "--methods",
    metavar="NAME,NAME,…",
    default=",".join(DEFAULT),
    callback=parse_methods,
    help=f"Which methods, or all; temperature goes on top of the best of the others.  [default: {', '.join(DEFAULT)}]",
)
@click.option(
    "--heads",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the heads are kept  [default: photos.heads beside photos.cache].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    callback=page_file,
    help="Write one page with all of it: tables, drawings, and where everything is from.",
)
@rule_options
@judging_options
@common
@shared()
def compare(
    cache: Path,
    heads: tuple[Path, ...],
    methods: tuple[str, ...],
    folder: Path | None,
    out: Path | None,
    rule: Rule,
    judging: Judging,
    common: Common,
) -> dict[str, Any]:
    """Fit ten methods (or --methods) on CACHE, tune them on held-out rows, and judge all heads on one split.

    Methods with hyperparameters are tuned on --on as `rebalance tune` does it, the others fitted as `rebalance fit`
    does. Each head is kept in a file, and is not made again while the cache and the options are the same.

    All of them, the joint head and every HEAD given besides are then judged on --split, a row a head, the best first;
    a method that fails is a row that says why. Which head to take is chosen on --on, and said at the end: by --metric,
    with --target-prior by accuracy under that prior, with --costs by cost. HEADs may be chosen too.
    """
    from featurecache import FeatureCache

    from .choosing.compared import compared, say_what_next
    from .choosing.contest import JOINT, Contest
    from .choosing.kept_heads import KeptHeads, folder_for
    from .judging.columns import GOALS
    from .judging.judged import criteria, judge, open_heads, show

    opened = FeatureCache(cache)
    by = criteria(opened, judging)
    judge(opened, {}, judging, common)  # what does not suit the cache is refused before anything is fitted
    choosing = _choosing(opened, rule, judging.split)
    given, files = open_heads(opened, heads, common)
    joint = given.pop(JOINT) if opened.has_head else None
    kept = KeptHeads(folder_for(cache, folder), opened, common.device)
    # Heads of folds are judged by what their parts were tuned for, and by nothing else.
    goal = GOALS[rule.metric if rule.folds else judging.goal(rule.metric)]
    if goal.key != rule.metric and first():
        note(f"rebalance: hyperparameters are tuned for {rule.metric} accuracy; one head is chosen by {goal.title}")
    methods = _possible(methods, opened)
    contest = Contest(opened, joint, choosing, rule, goal, by, kept, common.seed)
    with _saying_how_to_go_on(kept.folder):
        entries = _run(contest, methods)
        for text in contest.feeding.notes if first() else ():
            note(f"rebalance: {text}")
        others = {name: (head, files[name]) for name, head in given.items()}
        payload = compared(contest, entries, others, cache, judging, common, out)
    if not emit(payload, as_json=common.as_json):
        show(payload, full=judging.full)
        say_what_next(payload, entries, opened, cache)
    if all(head["name"] == JOINT for head in payload["heads"]):
        note("rebalance: no head but the joint one could be judged")
        click.get_current_context().exit(1)
    return payload


def _possible(methods: tuple[str, ...], opened: FeatureCache) -> tuple[str, ...]:
    """The methods; of the default ones those that need a head of the cache's own only where it has one."""
    from rebalance import METHODS

    source = click.get_current_context().get_parameter_source("methods")
    if opened.has_head or source is not click.core.ParameterSource.DEFAULT:
        return methods
    left = [name for name in methods if METHODS[name].needs_head and METHODS[name].on != "val"]
    if first():
        note(f"rebalance: {opened.path} has no head of its own, which {', '.join(left)} start from: they are left out")
    return tuple(name for name in methods if name not in left)


def _choosing(opened: FeatureCache, rule: Rule, reported: str) -> Split:
    """The split whose rows choose, compared with its checksums like all that are read.

    ValueError when it is not there or the backbone was trained on it, and where a file is damaged.
    """
    from .caches import verify
    from .choosing.chosen import judging_split

    if not rule.folds and (rule.on or "val") not in opened:
        raise ValueError(
            f"{opened.path}: no split {rule.on or 'val'!r} to choose on; there are: {', '.join(opened)}; name another "
            "with --on, add one (`rebalance extract … --split val=DATA`, or featurecache.write), or, where the "
            "backbone never saw train, give --folds 5"
        )
    choosing = judging_split(opened, rule, "train" if rule.folds else None)
    verify(opened, {choosing.name, reported, *({"train"} & opened.keys())})
    if choosing.name == reported and first():
        note(f"rebalance: {reported} both chooses and is reported: the figures are optimistic; report another --split")
    return choosing


def _run(contest: Contest, methods: Sequence[str]) -> list[Entry]:
    """Every method's entry; on stderr a line a method, which begins when the method does."""
    names = contest.order(methods)
    entries: list[Entry] = []
    made = contest.entries(methods)
    for number, name in enumerate(names, start=1):
        if first():
            click.echo(f"{number}/{len(names)} {name}: ", err=True, nl=False)
        entries.append(next(made))
        if first():
            note(_said(entries[-1], contest))
    return entries


def _said(entry: Entry, contest: Contest) -> str:
    """What became of a method, in a few words."""
    from .choosing.contest import ON_TOP
    from .method_options import described

    if entry.why is not None or entry.head is None:
        return f"failed: {entry.why}"
    tuned = entry.head.record.get("tuned", {}).get("parameters", {})
    parts = [described(name, value) for name, value in tuned.items() if name != "seed"]
    if entry.name.endswith(f" + {ON_TOP}"):
        parts.append(f"on {entry.name.removesuffix(f' + {ON_TOP}')}")
    if entry.value is None:
        parts.append(f"fitted on {entry.head.record['fitted_on']}")
    else:
        unit = " %" * (contest.goal.key != "cost")
        parts.append(f"{contest.goal.title} {contest.goal.text(entry.value)}{unit} on {contest.judging.name}")
    begin = ["reused"] if entry.reused else [f"made again ({entry.damage})"] if entry.damage else []
    return ", ".join([*begin, *parts, f"{entry.seconds:.1f} s"])


@contextlib.contextmanager
def _saying_how_to_go_on(folder: Path) -> Iterator[None]:
    """An interruption says what is safe, and which command goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(f"the heads that were finished are kept in {folder}; to go on: {how_to_go_on()}")
        raise
