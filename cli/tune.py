"""``rebalance tune METHOD``: one head whose hyperparameters were chosen on held-out rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .method_options import MethodGroup, described, method_command, method_options
from .options import Common, example
from .output import emit, note, percent

if TYPE_CHECKING:
    from featurecache import FeatureCache, Split
    from rebalance import Tuned

MAX_GRID = 1000


def run(
    *,
    method: str,
    hyperparameters: dict[str, Any],
    common: Common,
    cache: Path,
    out: Path,
    on: str | None,
    folds: int | None,
    grid: tuple[tuple[str, list[Any]], ...],
    metric: Any,
    select: Any,
    allow_seen: bool,
) -> dict[str, Any]:
    """Tune a method on one split and save the best head."""
    from featurecache import FeatureCache
    from rebalance import METHODS
    from rebalance import tune as library_tune

    from .caches import cached_head, check_last_classes, counts_keyword, provenance

    grids = _grids(method, hyperparameters, grid)
    fitted_on = METHODS[method].on
    opened = FeatureCache(cache)
    judging = _judging(opened, on, fitted_on if folds else None, allow_seen)
    rows = opened[fitted_on] if fitted_on else judging
    if folds and rows.views > 1:
        raise ValueError(
            f"--folds {folds}: {rows.name} holds {rows.views} views of every image, and no part may judge by another "
            "view of what was fitted; judge on a split of its own with --on"
        )
    opened.verify({judging.name, rows.name})
    check_last_classes(opened, rows)
    tuned = library_tune(
        method,
        cached_head(opened, common.device),
        rows.features,
        rows.labels,
        val=(judging.features, judging.labels) if fitted_on and not folds else None,
        grid=grids,
        metric=metric,
        select=select,
        folds=folds,
        seen=judging.seen if folds else None,
        allow_seen=allow_seen,
        seed=common.seed,
        counts=counts_keyword(method, opened).get("counts"),
    )
    record = {
        **provenance(opened),
        "fitted_on": fitted_on,
        "tuned_on": judging.name,
        "tuned_on_seen": judging.seen is not False if folds else judging.seen is True,
    }
    tuned.head.with_record(**record).save(out)
    payload = {
        "head": str(out),
        "value": tuned.value,
        "highest": tuned.highest,
        "joint": tuned.before,
        "record": {**tuned.head.record, **record},
        "curve": _curve(tuned),
    }
    if not emit(payload, as_json=common.as_json):
        _show(tuned, method, metric, select, judging, out)
        _warn(tuned, judging)
    return payload


def _grids(method: str, fixed: dict[str, Any], grids: tuple[tuple[str, list[Any]], ...]) -> dict[str, list[Any]]:
    """What is fixed and what is to be tried, as one grid; a usage error where the two contradict or make no sense."""
    from rebalance import METHODS

    out = {name: [value] for name, value in fixed.items()}
    numbers = {option.name for option in method_options(METHODS[method].function) if option.type is click.FLOAT}
    for name, values in grids:
        if name in out:
            raise click.UsageError(f"{name} is given twice; expected one --grid or one value for it")
        if name in numbers and (text := next((value for value in values if isinstance(value, str)), None)):
            raise click.UsageError(f"--grid {name}: {text!r} is not a number")
        out[name] = values
    return out


def _judging(cache: FeatureCache, on: str | None, in_turn: str | None, allow_seen: bool) -> Split:
    """The split to judge on; ValueError when it is not there or the backbone was trained on it.

    on: the one asked for, None for the usual one. in_turn: the one whose rows are fitted on and judge in turn, if any.
    """
    if in_turn and on not in (None, in_turn):
        raise click.UsageError(f"--folds takes turns among the rows of {in_turn}; expected no --on beside it")
    on = on or in_turn or "val"
    if on not in cache:
        raise ValueError(
            f"{cache.path}: no split {on!r} to judge on; there are: {', '.join(cache)}; name one with --on, "
            "or use fit, which chooses nothing"
        )
    split = cache[on]
    if split.seen and not allow_seen:
        others = [name for name in cache if name != on and not cache.plan.splits[name].seen]
        raise ValueError(
            f"{on} cannot tune: the backbone was trained on these rows, on which the joint head looks perfect; "
            f"use --on {others[0] if others else 'a held-out split'}, or --allow-seen to do it all the same"
        )
    return split


def _warn(tuned: Tuned, judging: Split) -> None:
    """Say when the choice beats nothing, or the judging split is too small to tell much about its rare classes."""
    import numpy as np

    if tuned.before is not None and tuned.value <= tuned.before:
        note(
            f"rebalance: on {judging.name} this is no better than the joint head: its rows do not tell enough to "
            "choose; judge it on more of them before you use it"
        )

    if isinstance(tuned.curve, list) and (ends := _at_an_end(tuned.curve, tuned.highest)):
        note(
            f"rebalance: the best {ends} lies at an end of its grid; values beyond it may be better still: give --grid"
        )
    for text in tuned.notes:
        note(f"rebalance: {text}: the choice is uncertain; more held-out rows would make it firmer")
    _, rows = np.unique(judging.labels[judging.labels >= 0], return_counts=True)
    single = int((rows == 1).sum())
    if single and not tuned.notes:
        note(
            f"rebalance: {single} of {len(rows)} classes have a single row in {judging.name}: one image decides a "
            "whole class, so the choice is uncertain; more held-out rows would make it firmer"
        )


def _at_an_end(curve: list[dict[str, Any]], highest: float) -> str | None:
    """The number of which only the first or the last value tried reaches the best value, or None."""
    for name in curve[0].keys() - {"value", "standard_error"}:
        tried = sorted({point[name] for point in curve if isinstance(point[name], float)})
        best = {point[name] for point in curve if point["value"] >= highest}
        if len(tried) > 2 and best in ({tried[0]}, {tried[-1]}):
            return str(name)
    return None


def _curve(tuned: Tuned) -> Any:
    if isinstance(tuned.curve, list):
        return tuned.curve
    return {"breakpoints": tuned.curve.breakpoints.tolist(), "values": tuned.curve.values.tolist()}


def _show(tuned: Tuned, method: str, metric: str, select: str, judging: Split, out: Path) -> None:
    values = ", ".join(described(name, value) for name, value in tuned.parameters.items())
    where = f"on {judging.name} ({len(judging)} rows)"
    click.echo(f"{out}: {method}, {values}; {metric} accuracy {percent(tuned.value)} % {where}")
    if tuned.before is not None:
        click.echo(f"the joint head has {percent(tuned.before)} % there, the best of all {percent(tuned.highest)} %")
    if tuned.interval is not None:
        low, high = (f"{end:.4g}" if math.isfinite(end) else f"{end}".replace("inf", "∞") for end in tuned.interval)
        chosen = "the best" if select == "best" else "within one standard error of the best"
        click.echo(f"exact search; {chosen} from {low} to {high}")
    elif isinstance(tuned.curve, list):
        chosen = "the best" if select == "best" else "the most regularised within one standard error of the best"
        click.echo(f"grid of {len(tuned.curve)}; {chosen}")


def _parse_grid(
    _ctx: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, list[Any]], ...]:
    """Every ``name=start:stop:step`` or ``name=value,value`` as a name and a list."""
    out = []
    for value in values:
        name, equals, text = value.partition("=")
        if not name or not equals or not text:
            raise click.BadParameter(f"{value!r}: expected name=start:stop:step or name=value,value")
        try:
            out.append((name, _span(text) if ":" in text else [_number(part) for part in text.split(",")]))
        except ValueError as error:
            raise click.BadParameter(f"{value!r}: {error}") from None
    return tuple(out)


def _span(text: str) -> list[float]:
    try:
        start, stop, step = (float(part) for part in text.split(":"))
    except ValueError:
        raise ValueError("expected three numbers start:stop:step") from None
    if not (step > 0 and start <= stop and (stop - start) / step < MAX_GRID):
        raise ValueError(f"expected start <= stop, step > 0 and at most {MAX_GRID} values")
    # Counted, not added up: 0:2:0.1 ends at 2.0 and has 21 values.
    return [round(start + i * step, 12) for i in range(int((stop - start) / step + 1e-9) + 1)]


def _number(text: str) -> Any:
    if not text:
        raise ValueError("an empty value")
    try:
        return float(text)
    except ValueError:
        return text


def _searched(name: str) -> frozenset[str]:
    """The hyperparameters that `tune` looks for by itself."""
    from rebalance import METHODS

    line = METHODS[name]
    return frozenset([line.path.parameter] if line.path else line.grid)


def _build(name: str) -> click.Command:
    params: list[click.Parameter] = [
        click.Argument(["cache"], type=click.Path(path_type=Path)),
        click.Option(["--out"], type=click.Path(path_type=Path), required=True, help="The head's file (.safetensors)."),
        click.Option(["--on"], show_default="val", default=None, help="The split whose rows judge."),
        click.Option(
            ["--folds"],
            type=click.IntRange(2),
            help="Judge on the rows of the fit themselves, in so many parts, each by a head fitted without it; for a "
            "backbone that never saw them.",
        ),
        click.Option(
            ["--grid"],
            metavar="NAME=A:B:STEP|A,B,…",
            callback=_parse_grid,
            multiple=True,
            help="Values to try, the least regularised first; without it the exact search where there is one, else "
            "the method's own grid.",
        ),
        click.Option(
            ["--metric"],
            type=click.Choice(["balanced", "top1"]),
            default="balanced",
            show_default=True,
            help="What is to be best: mean recall over classes, or the share of right rows.",
        ),
        click.Option(
            ["--select"],
            type=click.Choice(["1se", "1se-bootstrap", "best"]),
            default="1se",
            show_default=True,
            help="The middle of (on a grid: the most regularised) all that is within one standard error of the best, "
            "McNemar's or by resampling within the classes; or the best itself.",
        ),
        click.Option(
            ["--allow-seen"],
            is_flag=True,
            help="Tune on rows the backbone was trained on; the head is marked.",
        ),
    ]
    shown = example(f"rebalance tune {name} photos.cache --out {name}.safetensors")
    return method_command(name, run, params=params, searched=_searched(name), epilog=shown)


tune = MethodGroup(
    name="tune",
    build=_build,
    help="Choose METHOD's hyperparameters on held-out rows of CACHE and save the best head.\n\ntau_norm, "
    "logit_adjust and multiplicative are searched exactly, over every value; the others on a grid, fitted on train and "
    "judged on --on.",
    epilog=example(
        "rebalance tune tau_norm photos.cache --out tau.safetensors",
        "rebalance tune crt photos.cache --grid weight_decay=1e-5,1e-4,1e-3,1e-2 --out crt.safetensors",
    ),
)
