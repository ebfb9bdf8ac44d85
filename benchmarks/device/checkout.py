"""The three packages of this checkout, importable where they are not installed."""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
PACKAGES = {"featurecache": "featurecache", "rebalance": "rebalance", "rebalance_cli": "cli"}  # import name -> folder
NEEDED = ("torch", "numpy", "h5py", "safetensors")  # to import the first two at all


def missing(names: tuple[str, ...]) -> list[str]:
    """Those of some packages that are not installed."""
    return [name for name in names if find_spec(name) is None]


@contextmanager
def importable(root: Path = ROOT) -> Iterator[bool]:
    """The packages can be imported inside the block, here and in the processes it starts; whether they are installed.

    Where one is missing all three come from the checkout: `rebalance_cli` is its folder `cli`.
    """
    before = sys.path[:], os.environ.get("PYTHONPATH")
    installed = not missing(tuple(PACKAGES))
    with tempfile.TemporaryDirectory() as folder:
        if not installed:
            _fill(Path(folder), root)
            sys.path.insert(0, folder)
        here = [] if installed else [folder]
        os.environ["PYTHONPATH"] = os.pathsep.join([str(BENCHMARKS), *here, *filter(None, [before[1]])])
        try:
            yield installed
        finally:
            sys.path[:] = before[0]
            os.environ.pop("PYTHONPATH")
            if before[1] is not None:
                os.environ["PYTHONPATH"] = before[1]


def _fill(folder: Path, root: Path) -> None:
    """Links to the packages, and what an installation would say of itself."""
    for name, where in PACKAGES.items():
        (folder / name).symlink_to(root / where, target_is_directory=True)
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    about = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {each}" for each in project["dependencies"]),
    ]
    (about / "METADATA").write_text("\n".join(lines) + "\n", "utf-8")
