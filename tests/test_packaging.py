"""Wheel, sdist and editable install work in a scratch environment, far from the repository's root."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["featurecache", "rebalance", "rebalance_cli"]
BUILT_FROM = ["pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "featurecache", "rebalance", "cli"]


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of the command; a failure shows its whole output."""
    # -P and no PYTHONPATH: neither the folder nor the caller's settings decide what is imported.
    env = {
        "PYTHONSAFEPATH": "1",
        "PATH": "/usr/bin:/bin",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """A scratch environment with the project installed in one way, and an empty folder to work in."""

    bin: Path
    home: Path  # the folder its modules must come from
    empty: Path


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, so that building leaves nothing in the repository."""
    copy = tmp_path_factory.mktemp("tree")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def archives(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The built wheel and sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir", out, tree, cwd=out)
    return {"wheel": next(out.glob("*.whl")), "sdist": next(out.glob("*.tar.gz"))}


@pytest.fixture(scope="module", params=["wheel", "sdist", "editable"])
def installed(
    request: pytest.FixtureRequest,
    tree: Path,
    archives: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Installed:
    """The project installed in one of the three ways; dependencies are lent by the running environment."""
    scratch = tmp_path_factory.mktemp(f"venv-{request.param}")
    venv.create(scratch, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(scratch), "platbase": str(scratch)}))
    # A folder named in a .pth file is searched last, and its own .pth files are not read: an editable
    # install of this project in the running environment cannot be the one that answers.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    target: list[str | Path] = ["-e", tree] if request.param == "editable" else [archives[request.param]]
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        scratch / "bin" / "python",
        "install",
        "--quiet",
    ]
    run(*pip, "--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", *target, cwd=scratch)
    return Installed(scratch / "bin", tree if request.param == "editable" else site, tmp_path_factory.mktemp("empty"))


def test_program_and_module_answer(installed: Installed) -> None:
    program = run(installed.bin / "rebalance", "--help", cwd=installed.empty)
    module = run(installed.bin / "python", "-m", "rebalance", "--help", cwd=installed.empty)
    assert program.startswith("Usage: rebalance ")
    assert module.splitlines()[2:] == program.splitlines()[2:]  # the first lines name the program


def test_packages_are_the_installed_ones_and_typed(installed: Installed) -> None:
    code = f"import {', '.join(PACKAGES)}\nfor m in ({', '.join(PACKAGES)}): print(m.__file__)"
    files = [Path(line) for line in run(installed.bin / "python", "-c", code, cwd=installed.empty).splitlines()]
    assert len(files) == len(PACKAGES)
    for file in files:
        assert installed.home in file.parents
        assert (file.parent / "py.typed").is_file()


def test_installs_do_not_shadow_other_packages(archives: dict[str, Path]) -> None:
    """Only the three packages (and no top-level `cli`, `tests` or `benchmarks`) land in site-packages."""
    names = run(sys.executable, "-m", "zipfile", "-l", archives["wheel"], cwd=archives["wheel"].parent).splitlines()[1:]
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
