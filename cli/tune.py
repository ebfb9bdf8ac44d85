"""``rebalance tune METHOD``: one head whose hyperparameters were chosen on held-out rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .choosing.chosen import Rule, chosen_head, doubts, judging_split
from .launch import first
from .method_options import MethodGroup, described, method_command, method_options
from .options import Common, example
from .output import emit, note, percent
from .parameter_types import Shares

if TYPE_CHECKING:
    from featurecache import Split
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
    from rebalance.head_file import check_target

    from .caches import cached_head
    from .feeding import Feeding
    from .judging.target_prior import with_shares

    check_target(out)
    rule = Rule(on, folds, metric, select, allow_seen)
    _grids(method, hyperparameters, grid)  # a wrong usage, before anything is opened
    opened = FeatureCache(cache)
    grids = _grids(method, with_shares(hyperparameters, opened), grid)
    judging = judging_split(opened, rule, METHODS[method].on if folds else None)
    joint, feeding = cached_head(opened, common.device), Feeding(common.device)
    tuned = chosen_head(method, opened, joint, judging, rule, feeding, grid=grids, seed=common.seed)
    tuned.head.save(out)
    payload = {
        "head": str(out),
        "value": tuned.value,
        "highest": tuned.highest,
        "joint": tuned.before,
        "record": dict(tuned.head.record),
        # An exact curve has a step a row: millions of them are not made into a list that nobody prints.
        **({"curve": _curve(tuned)} if common.as_json else {}),
    }
    if not emit(payload, as_json=common.as_json):
        _show(tuned, method, metric, select, judging, out)
        said = [*feeding.notes, *doubts(tuned, judging)]
        if isinstance(hyperparameters.get("target_prior"), Shares) and metric == "balanced":
            said.append("tuned for balanced accuracy, whatever the target prior; --metric top1 counts rows alike")
        for text in said if first() else ():
            note(f"rebalance: {text}")
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
        click.Option(["--on"], help="The split whose rows judge.  [default: val]"),
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
            help="1se: of all values within one standard error (McNemar's) of the best the middle one, on a grid the "
            "most regularised; 1se-bootstrap: the same by resampling; best: the best.",
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
    short_help="Choose METHOD's hyperparameters on held-out rows.",
    help="Choose METHOD's hyperparameters on held-out rows of CACHE and save the best head.\n\ntau_norm, "
    "logit_adjust and multiplicative are searched exactly, over every value; the others on a grid, fitted on train and "
    "judged on --on.",
    epilog=example(
        "rebalance tune tau_norm photos.cache --out tau.safetensors",
        "rebalance tune crt photos.cache --grid weight_decay=1e-5,1e-4,1e-3,1e-2 --out crt.safetensors",
    ),
)
