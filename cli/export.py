"""``rebalance export``: the checkpoint with its new classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import Common, common, example
from .output import emit


@click.command(
    epilog=example("rebalance export tau.safetensors --into joint.pt --out rebalanced.pt"),
    short_help="Write the model's checkpoint with its new head.",
)
@click.argument("head", type=click.Path(path_type=Path))
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    required=True,
    metavar="CHECKPOINT",
    help="The checkpoint the features were extracted with (.pt, .pth, .safetensors).",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new checkpoint.")
@click.option("--layer", help="The classifier's name in the model, where the head does not record it.")
@common
def export(head: Path, into: Path, out: Path, layer: str | None, common: Common) -> dict[str, Any]:
    """Replace the classifier's weight and bias in a checkpoint by those of HEAD; every other tensor stays bit-equal.

    The result is what the checkpoint was, a plain state dict as a rule, for the same code that loaded it before.
    Nothing is computed: --seed and --device are accepted, as everywhere, and change nothing.
    """
    from featurecache.checkpoint import classifier_key, load_state, replace_in_checkpoint
    from rebalance import LinearHead, load_head

    opened = load_head(head)
    if type(opened) is not LinearHead:
        kind = opened.record.get("method", type(opened).__name__)
        raise ValueError(
            f"{head}: {kind} centres or normalises the features first, so no weight and bias in a checkpoint can do "
            "the same; use head.to_module() in Python, or a linear head (crt, lws, tau_norm, ncm --transform un)"
        )
    if opened.record.get("terms"):
        raise ValueError(
            f"{head}: the model's classifier {str(opened.record.get('layer'))[:80]!r} is several layers added, or one "
            "with a factor or a normalisation, so no single weight in a checkpoint can be replaced; use "
            "featurecache.replace_classifier(model, head.to_module(), layer=found) in Python"
        )
    name = layer or opened.record.get("layer")
    if name is None:
        name = classifier_key(load_state(into), (opened.num_classes, opened.width))
    replace_in_checkpoint(
        into, out, layer=name, weight=opened.weight, bias=opened.bias, expected=opened.record.get("joint")
    )
    payload = {"checkpoint": str(out), "into": str(into), "layer": name, "classes": opened.num_classes}
    if not emit(payload, as_json=common.as_json):
        click.echo(f"{out}: {into} with the classifier {name!r} replaced ({opened.num_classes} classes)")
    return payload
