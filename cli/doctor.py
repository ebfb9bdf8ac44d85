"""``rebalance doctor``: what is installed, what works here, how to mend what does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Common, common, example
from .output import clean, emit

if TYPE_CHECKING:
    from featurecache.checkup.finding import Finding

BROKEN = 1
COLOURS = {"PASS": "green", "WARN": "yellow", "FAIL": "red"}
NAME_WIDTH = 20  # characters; lines are shown as they are found, so the longest is not known yet
LONGEST = 1000  # characters of a line


@click.command(
    epilog=example("rebalance doctor", "rebalance doctor /data/caches --json"),
    short_help="What is installed and works here, and how to mend the rest.",
)
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@common
def doctor(folder: Path, common: Common) -> dict[str, Any]:
    """Look at the installation, the machine, and the disk of FOLDER, where caches will lie (default: here).

    One line a thing: PASS; WARN where something is slow, unsafe, or an optional package is broken; FAIL where a cache
    could not be made or trusted. The exit code is 1 where anything is FAIL. Small files are written in FOLDER, and
    removed. Nothing is fetched from the network. --seed and --device change nothing.
    """
    found = []
    for finding in _findings(folder):
        found.append(finding)
        if not common.as_json:
            _show(finding)
    count = {status: sum(each["status"] == status for each in found) for status in COLOURS}
    worst = next(status for status in ("FAIL", "WARN", "PASS") if count[status] or status == "PASS")
    payload = {"folder": str(folder), "status": worst, "findings": found}
    if not emit(payload, as_json=common.as_json):
        click.echo(", ".join(f"{number} {status}" for status, number in count.items() if number))
    if count["FAIL"]:
        click.get_current_context().exit(BROKEN)
    return payload


def _findings(folder: Path) -> Iterator[dict[str, str]]:
    """The findings; an installation that cannot even be imported is one."""
    try:
        from featurecache.doctor import examine
    except Exception as error:  # a broken PyTorch, NumPy or h5py says it in a dozen ways
        said = " ".join(f"{type(error).__name__}: {error}".split())
        mend = "pip install --force-reinstall featurecache-rebalance in a fresh environment"
        yield {"name": "import", "status": "FAIL", "said": f"the cache cannot be imported: {said}", "mend": mend}
        return
    yield from map(_entry, examine(folder))


def _entry(finding: Finding) -> dict[str, str]:
    return {"name": finding.name, "status": finding.status, "said": finding.said, "mend": finding.mend}


def _show(finding: dict[str, str]) -> None:
    status = click.style(finding["status"], fg=COLOURS[finding["status"]])
    mend = f"; {finding['mend']}" if finding["mend"] else ""
    click.echo(f"{status}  {finding['name']:<{NAME_WIDTH}} {clean(finding['said'] + mend, LONGEST)}")
