"""``rebalance export``: the model with its new head, written in a form that runs elsewhere, and proved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .exporting.options import (
    ExportCommand,
    Origin,
    Proof,
    Targets,
    origin_options,
    proof_options,
    target_options,
)
from .options import Common, common, example
from .output import clean, emit, note

if TYPE_CHECKING:
    from rebalance import LinearHead


@click.command(
    cls=ExportCommand,
    epilog=example(
        "rebalance export tau.safetensors --into joint.pt --out rebalanced.pt",
        "rebalance export ncm.safetensors --module ncm.pt2 --onnx ncm.onnx",
        "rebalance export crt.safetensors --into joint.pt --full --onnx model.onnx --check photos/test",
    ),
    short_help="Write the model with its new head, and prove it.",
)
@click.argument("head", type=click.Path(path_type=Path))
@target_options
@origin_options
@proof_options
@common
def export(head: Path, targets: Targets, origin: Origin, proof: Proof, common: Common) -> dict[str, Any]:
    """Put HEAD into the checkpoint it belongs to, or write it as a program that runs without this one.

    A checkpoint keeps every other tensor bit for bit, and loads with the code that loaded it before. That takes a
    head that is one weight and bias; one that normalises its features or has a gate is written with --module or
    --onnx.

    What was written is read back and run on rows of the head's cache. Its logits must be the head's, up to the
    rounding of its dtype, and its decisions on every row whose two best logits are further apart than twice that;
    else nothing is left, and the command fails. --seed is of the random inputs that check a whole model where
    --check names no images.
    """
    from rebalance import load_head
    from rebalance.folding import fold

    from .exporting.belonging import absent, cache_of, split_of
    from .exporting.written import Job

    targets.check(proof)
    given = load_head(head)
    folded = fold(given) if targets.fold else None
    plain = given if folded is None else folded.head
    if targets.out is not None:
        _check_linear(head, plain)
    cache = cache_of(given, head, targets.into, proof.cache)
    if cache is None and not targets.full and not proof.unproved:
        raise ValueError(absent(given, head))
    split = None
    if cache is not None:
        split = split_of(cache)
        cache.verify([split])
    done = Job(head, given, plain, cache, split, targets, origin, proof, common).write()
    if cache is None and not targets.full:
        note("rebalance: not proved: no cache of this head's features was found")
    payload = {"head": str(head), "classes": given.num_classes, "folded": None if folded is None else folded.said}
    payload |= done
    if not emit(payload, as_json=common.as_json):
        _show(payload, full=targets.full)
    return payload


def _check_linear(path: Path, head: LinearHead) -> None:
    """ValueError, with its reason and the way out, for a head that is more than one weight and bias."""
    from rebalance import GatedHead, NormalizedHead
    from rebalance.folding import fold

    if not isinstance(head, GatedHead | NormalizedHead):
        return
    method = clean(str(head.record.get("method", type(head).__name__)))
    if isinstance(head, NormalizedHead):
        why = "centres or normalises the features first"
        other = ", or take a linear head (crt, lws, tau_norm, ncm --transform un)"
    else:
        why = "corrects every row's logits by a share of its own"
        other = " (--fold makes one weight and bias of this one)" if type(fold(head).head) is not GatedHead else ""
    raise ValueError(
        f"{path}: {method} {why}, so no weight and bias in a checkpoint can do the same; write it as a program with "
        f"--module FILE.pt2 or --onnx FILE.onnx{other}"
    )


def _show(payload: dict[str, Any], *, full: bool) -> None:
    """What was written and how it was proved, for a person."""
    from .exporting.proving import said

    if payload["folded"]:
        click.echo(f"{payload['head']}: {payload['folded']}")
    what = "the whole model, from images to logits" if full else "the head, from features to logits"
    lines = {
        "checkpoint": f"{payload.get('into')} with the classifier {payload.get('layer')!r} replaced "
        f"({payload['classes']} classes){_which(payload)}",
        "module": f"{what}, for torch.export.load",
        "onnx": f"{what}, as ONNX (opset {payload.get('opset')})",
    }
    for kind, line in lines.items():
        if kind not in payload:
            continue
        click.echo(f"{payload[kind]}: {line}")
        if proof := payload["proved"].get(kind):
            click.echo(f"  proved on {said(proof)}")
        if check := payload["checked"].get(kind):
            click.echo(f"  checked on {said(check)}")


def _which(payload: dict[str, Any]) -> str:
    """Which of two copies of the weights got the head."""
    if payload.get("averaged") is None:
        return ""
    return " in its averaged weights" if payload["averaged"] else "; its averaged weights are left as they were"
