"""``rebalance demo``: the whole story on embedded real data, told by the commands themselves."""

from __future__ import annotations

import contextlib
import io
import shlex
import time
from pathlib import Path
from typing import Any

import click

from .options import Common, common, example
from .output import emit

SHOTS = "10,40"  # the largest class has 90 training rows: the usual bounds of 20 and 100 would call none many
METHODS = ("ncm", "crt", "tau_norm", "lws")

YOUR_OWN = """\
The same five steps for your own images (photos/train and photos/test hold a folder a class):

  rebalance train photos/train --out joint.pt
  rebalance extract photos.cache --model run:joint.pt --root photos/train --split train=joint.train.txt \\
      --split val=joint.val.txt --split test=photos/test
  rebalance tune crt photos.cache --out crt.safetensors
  rebalance evaluate photos.cache crt.safetensors --figure before-after.png
  rebalance export crt.safetensors --into joint.pt --out rebalanced.pt"""


@click.command(
    epilog=example("rebalance demo", "rebalance demo results"),
    short_help="The whole story on real data, in a minute.",
)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default="demo", metavar="[DIR]")
@common
def demo(directory: Path, common: Common) -> dict[str, Any]:
    """Train, extract, rebalance, judge and export on scikit-learn's handwritten digits; results in DIR (./demo).

    The training split is made long-tailed (90 images of the first class, 2 of the last); validation and test are
    balanced and kept aside. A small convnet is trained jointly, its features are cached, and the paper's classifiers
    are fitted on them: joint, NCM, cRT, tau-normalisation (tau chosen on validation) and LWS.
    """
    began = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    steps = _Steps(common)
    model, cache = directory / "joint.pt", directory / "digits.cache"
    _remove_other(cache)
    model.with_name(f"{model.name}.training").unlink(missing_ok=True)  # of a demo that was stopped, with other options
    steps.say("1. Train a convnet jointly on the long-tailed digits, instance-balanced.")
    steps.run(
        "train", "digits:train", "--val", "digits:val", "--out", model,
        "--image-size", 8, "--grey", "--no-flip", "--sampler", "instance", "--epochs", 100, "--batch-size", 16,
    )  # fmt: skip
    steps.say("2. One pass over the images: features and logits into a cache.")
    steps.run(
        "extract", cache, "--model", f"run:{model}",
        *(part for name in ("train", "val", "test") for part in ("--split", f"{name}=digits:{name}")),
        "--shots", SHOTS,
    )  # fmt: skip
    steps.say("3. Four new classifiers on the same features; tau is chosen on validation, among all there are.")
    heads = [directory / f"{method}.safetensors" for method in METHODS]
    for method, head in zip(METHODS, heads, strict=True):
        steps.run("tune" if method == "tau_norm" else "fit", method, cache, "--out", head)
    steps.say("4. All five judged on test.")
    figure = directory / "before-after.png"
    judged = steps.run("evaluate", cache, *heads, "--shots", SHOTS, "--figure", figure)
    best = _best_on_validation(steps, cache, heads)
    steps.say(f"5. The head that is best on validation ({best.stem}) goes back into the model.")
    patched = directory / "rebalanced.pt"
    steps.run("export", best, "--into", model, "--out", patched)
    payload = {
        "directory": str(directory),
        "heads": judged["heads"],
        "chosen": best.stem,
        "checkpoint": str(patched),
        "figure": str(figure),
        "seconds": round(time.perf_counter() - began, 1),
    }
    if not emit(payload, as_json=common.as_json):
        click.echo(f"\n{payload['seconds']} s. {figure} shows recall per class before and after.\n")
        click.echo(YOUR_OWN)
    return payload


class _Steps:
    """Runs commands of this program as a user would type them, each shown before it runs."""

    def __init__(self, common: Common) -> None:
        program = click.get_current_context().find_root().command
        self._commands = program.commands if isinstance(program, click.Group) else {}
        self._quiet = common.as_json
        self._common = ("--seed", str(common.seed), "--device", common.device_name)

    def say(self, text: str) -> None:
        """A heading."""
        if not self._quiet:
            click.echo(f"\n{text}")

    def run(self, *words: object, quiet: bool = False) -> dict[str, Any]:
        """What the command returns; its output is shown unless JSON was asked for."""
        args = [str(word) for word in words]
        silent = self._quiet or quiet
        if not silent:
            click.echo(f"$ rebalance {shlex.join(args)}")
        with contextlib.redirect_stdout(io.StringIO()) if silent else contextlib.nullcontext():
            command = self._commands[args[0]]
            # Not command.main: it turns Ctrl-C into an exit code of its own.
            with command.make_context(args[0], [*args[1:], *self._common], click.get_current_context()) as inner:
                result: dict[str, Any] = command.invoke(inner)
        return result


def _best_on_validation(steps: _Steps, cache: Path, heads: list[Path]) -> Path:
    """The head to export, chosen on validation and never on test; NCM is no plain weight and bias and stays out."""
    linear = [head for head in heads if head.stem != "ncm"]
    judged = steps.run("evaluate", cache, *linear, "--split", "val", "--replicates", 0, quiet=True)
    best = next(head for head in judged["heads"] if head["name"] != "joint")
    return next(head for head in linear if head.stem == best["name"])


def _remove_other(cache: Path) -> None:
    """Make room for the demo's cache: one of an earlier demo belongs to another training run."""
    import shutil

    from featurecache import FeatureCache

    if cache.exists():
        # Only what is a cache is removed: reading it refuses anything else that may lie there.
        FeatureCache(cache)
        shutil.rmtree(cache)
