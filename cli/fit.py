"""``rebalance fit METHOD``: one head from a cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .launch import first
from .method_options import MethodGroup, described, method_command
from .options import Common, example
from .output import emit, note

if TYPE_CHECKING:
    from featurecache import FeatureCache
    from rebalance import LinearHead

    from .feeding import Feeding


def run(
    *, method: str, hyperparameters: dict[str, Any], common: Common, cache: Path, out: Path, on: str
) -> dict[str, Any]:
    """Fit a method on one split and save the head."""
    from rebalance import METHODS
    from rebalance.head_file import check_target

    from .caches import cached_head, open_cache
    from .feeding import Feeding
    from .judging.target_prior import with_shares

    check_target(out)
    opened = open_cache(cache, on)
    joint, feeding = cached_head(opened, common.device), Feeding(common.device)
    head = fitted_head(method, opened, joint, on, with_shares(hyperparameters, opened), feeding)
    head.save(out)
    payload = {"head": str(out), "record": dict(head.record)}
    if not emit(payload, as_json=common.as_json):
        settings = head.record["hyperparameters"].items()
        values = ", ".join(described(name, value) for name, value in settings if value is not None)
        where = f" on {on} ({len(opened[on])} rows)" if METHODS[method].on else ""
        click.echo(f"{out}: {method}{where}{', ' if values else ''}{values}")
        for text in filter(None, [*feeding.notes, unfinished(head)]) if first() else ():
            note(f"rebalance: {text}")
    return payload


def fitted_head(
    method: str,
    cache: FeatureCache,
    head: LinearHead | None,
    on: str,
    hyperparameters: Mapping[str, Any],
    feeding: Feeding,
) -> LinearHead:
    """A method's head whose record also says what it was made from.

    head: what it starts from, the cache's own as a rule, or None. on: the split it is fitted on, if it is.
    feeding: where the rows come from. ValueError when a file is damaged, or the rows do not suit the method.
    """
    from rebalance import METHODS

    from .caches import check_last_classes, counts_keyword, provenance, verify

    line, rows = METHODS[method], cache[on]
    verify(cache, {on})
    check_last_classes(cache, rows)
    counts = counts_keyword(method, cache, on)
    # What is fitted on nothing reads no features, so none travel.
    features, labels = feeding.rows(rows) if line.on else (rows.features, rows.labels)
    fitted = line.function(head, features, labels, **hyperparameters, **counts)
    return fitted.with_record(**provenance(cache), fitted_on=on if line.on else None)


def unfinished(head: LinearHead) -> str | None:
    """What to say of a head whose solver stopped too early; None of any other."""
    solver = head.record.get("solver")
    if not solver or solver.get("converged", True):  # one seeded pass ends where it ends
        return None
    return (
        f"the solver stopped after {solver['passes']} passes, its gradient at {solver['gradient']:.1e} of the start; "
        "a larger --weight-decay converges faster"
    )


def _build(name: str) -> click.Command:
    from rebalance import METHODS

    fits = METHODS[name].on is not None
    on_help = "The split it is fitted on." if fits else "Changes nothing: this method fits nothing."
    params: list[click.Parameter] = [
        click.Argument(["cache"], type=click.Path(path_type=Path)),
        click.Option(["--out"], type=click.Path(path_type=Path), required=True, help="The head's file (.safetensors)."),
        click.Option(["--on"], default=METHODS[name].on or "train", show_default=True, help=on_help),
    ]
    shown = example(f"rebalance fit {name} photos.cache --out {name}.safetensors")
    return method_command(name, run, params=params, epilog=shown)


fit = MethodGroup(
    name="fit",
    build=_build,
    help="Fit METHOD on a split of CACHE and save the head.\n\nEvery method has its own options: rebalance fit METHOD "
    "--help. To have them chosen on held-out rows, use tune.",
    epilog=example(
        "rebalance fit crt photos.cache --out crt.safetensors",
        "rebalance fit tau_norm photos.cache --tau 0.7 --out tau.safetensors",
    ),
)
