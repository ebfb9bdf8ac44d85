"""Where the data come from: the caches of the study, the synthetic problem, or any cache."""

from __future__ import annotations

from pathlib import Path

from speed.problem import S, problem
from studying.sets import SETS

from comparing.material import Material, prepare
from rebalance import Shots

SYNTHETIC = "synthetic"
NAMES = (SYNTHETIC, "fashion", "icons", "clipart", "wordnet", "digits")
RUNS = ("instance-0", "draw-0")  # of the study: the instance-balanced model, or the first draw of ready features
RAN = "python benchmarks/study.py"


def missing(name: str, work: Path) -> str:
    """Why there is nothing of this name, in one line; "" where there is."""
    if name == SYNTHETIC or _is_cache(Path(name)) or study_cache(name, work):
        return ""
    if name in NAMES:
        places = " or ".join(f"{run}.cache" for run in RUNS)
        return f"{name}: left out, for there is no {work / 'runs' / name}/{places}; `{RAN}` makes it"
    return f"{name[:80]!r} is neither a cache nor one of {', '.join(NAMES)}"


def material(name: str, work: Path, folder: Path) -> Material:
    """The set of a name. work: the study's folder; the synthetic cache is kept there. folder: of the arrays.

    ValueError when the cache is damaged or lacks a split.
    """
    if name == SYNTHETIC:
        path = problem(work / "peers").path
        return prepare(name, f"Synthetic, as large as ImageNet-LT ({S})", path, folder / name)
    made = study_cache(name, work)
    if made is None:
        return prepare(Path(name).name, Path(name).name, Path(name), folder / "given")
    title, shots = _said_by_the_study(name, work)
    return prepare(name, title, made, folder / name, shots=shots)


def study_cache(name: str, work: Path) -> Path | None:
    """The cache of a set in the study's folder."""
    return next((path for run in RUNS if _is_cache(path := work / "runs" / name / f"{run}.cache")), None)


def _said_by_the_study(name: str, work: Path) -> tuple[str, Shots]:
    """Title and shot groups of a set whose cache is there, so that nothing is fetched any more."""
    made = SETS[name](work)
    return made.title, Shots(*made.shots)


def _is_cache(path: Path) -> bool:
    return (path / "cache.json").is_file()
