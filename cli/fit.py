"""``rebalance fit METHOD``: one head from a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .method_options import MethodGroup, described, method_command
from .options import Common, example
from .output import emit


def run(
    *, method: str, hyperparameters: dict[str, Any], common: Common, cache: Path, out: Path, on: str
) -> dict[str, Any]:
    """Fit a method on one split and save the head."""
    from rebalance import METHODS

    from .caches import cached_head, check_last_classes, counts_keyword, open_cache, provenance

    opened = open_cache(cache, on)
    split = opened[on]
    check_last_classes(opened, split)
    joint = cached_head(opened, common.device)
    line = METHODS[method]
    head = line.function(joint, split.features, split.labels, **hyperparameters, **counts_keyword(method, opened, on))
    head = head.with_record(**provenance(opened), fitted_on=on if line.on else None)
    head.save(out)
    payload = {"head": str(out), "record": dict(head.record)}
    if not emit(payload, as_json=common.as_json):
        settings = head.record["hyperparameters"].items()
        values = ", ".join(described(name, value) for name, value in settings if value is not None)
        where = f" on {on} ({len(split)} rows)" if line.on else ""
        click.echo(f"{out}: {method}{where}{', ' if values else ''}{values}")
        solver = head.record.get("solver")
        if solver and not solver["converged"]:
            click.echo(
                f"rebalance: the solver stopped after {solver['passes']} passes, its gradient at "
                f"{solver['gradient']:.1e} of the start; a larger --weight-decay converges faster",
                err=True,
            )
    return payload


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
