"""Which methods are compared, how their heads are chosen and where the page goes: the options of ``compare``."""

from __future__ import annotations

from pathlib import Path

import click

from ..gathered import gathered
from .chosen import Rule

DEFAULT = (
    "joint",
    "ncm",
    "crt",
    "tau_norm",
    "lws",
    "logit_adjust",
    "balanced_softmax",
    "label_aware_smoothing",
    "over_smoothing",
    "lda",
    "temperature",
)
PAGES = (".html", ".htm")


def parse_methods(_ctx: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    """``crt,lws`` as names of the registry, each once; ``all`` is all of them."""
    from rebalance import METHODS

    names = tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))
    if unknown := [name for name in names if name not in METHODS and name != "all"]:
        raise click.BadParameter(f"no method {unknown[0][:80]!r}; there are {', '.join(METHODS)}, and all")
    if not names:
        raise click.BadParameter(f"no method is named; there are {', '.join(METHODS)}, and all")
    return tuple(METHODS) if "all" in names else names


def page_file(_ctx: click.Context, _option: click.Parameter, value: Path | None) -> Path | None:
    """The page's file; ValueError where it could not be written."""
    if value is not None and (value.suffix.lower() not in PAGES or value.is_dir() or not value.parent.is_dir()):
        raise ValueError(f"--out {value}: expected a {' or '.join(PAGES)} file in a folder that is there")
    return value


rule_options = gathered(
    "rule",
    Rule,
    click.option("--on", help="The split whose rows choose, never those reported.  [default: val]"),
    click.option(
        "--folds",
        type=click.IntRange(2),
        help="Choose on train itself, in so many parts, each judged by a head fitted without it; for a backbone that "
        "never saw it.",
    ),
    click.option(
        "--metric",
        type=click.Choice(["balanced", "top1"]),
        default="balanced",
        show_default=True,
        help="What is to be best there: mean recall over classes, or the share of right rows.",
    ),
    click.option(
        "--select",
        type=click.Choice(["1se", "1se-bootstrap", "best"]),
        default="1se",
        show_default=True,
        help="1se: of all values within one standard error (McNemar's) of the best the middle one, on a grid the most "
        "regularised; 1se-bootstrap: the same by resampling; best: the best.",
    ),
    click.option(
        "--allow-seen", is_flag=True, help="Choose on rows the backbone was trained on; the heads are marked."
    ),
)
