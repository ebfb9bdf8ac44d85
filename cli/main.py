"""The program ``rebalance``: its commands, and what becomes of errors."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Any

import click

from .compare import compare
from .convert import convert
from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .extract import extract
from .fit import fit
from .info import info
from .predict import predict
from .train import train
from .tune import tune
from .verify import verify

REFUSED, INTERRUPTED, TERMINATED = 1, 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM, which a scheduler sends where a person presses Ctrl-C; or SIGHUP, when the terminal is closed."""


class Program(click.Group):
    """A group that turns a refusal into one line on stderr and exit code 1, an interruption into 130 or 143."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words of the command, so that an interruption can say how to go on."""
        ctx.meta["rebalance.words"] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; ValueError, OSError and ImportError are refusals; anything else is a bug."""
        signal.signal(signal.SIGTERM, _terminate)
        # A terminal that closes; not where the user asked for it to be passed over (nohup).
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            signal.signal(signal.SIGHUP, _terminate)
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # who reads the output has gone: click ends quietly
        except (ValueError, OSError, ImportError) as error:
            if ctx.meta.get("rebalance.verbose"):
                traceback.print_exc()
            message = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                message += "; make room and run the same command again"
            click.echo(f"rebalance: {message}", err=True)
            ctx.exit(REFUSED)
        except KeyboardInterrupt as stop:
            advice = " ".join(getattr(stop, "__notes__", ["run the same command again"]))
            click.echo(f"\nrebalance: interrupted; {advice}", err=True)
            ctx.exit(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are used, not of the alphabet."""
        return list(self.commands)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample:\n  rebalance demo\n  rebalance COMMAND --help",
)
@click.version_option(package_name="featurecache-rebalance", prog_name="rebalance")
def cli() -> None:
    """Rebalance the last layer of a trained classifier, so that rare classes are recognised too.

    One pass over the images caches features and logits (extract); any number of classifiers is then fitted in
    seconds (fit, tune), judged (evaluate, compare), put back into the model (export) and used (predict).
    """


for command in (demo, train, extract, info, verify, convert, fit, tune, evaluate, compare, export, predict, doctor):
    cli.add_command(command)


def main() -> None:
    """Run as ``python -m rebalance``."""
    try:
        cli(prog_name="rebalance")
    except SystemExit as end:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # Gloo's threads outlive their group where gradients were averaged, and abort a Python that tidies up.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise
