"""The house: who imports whom, what files are called, which test covers which module."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "featurecache": "featurecache",
    "rebalance": "rebalance",
    "cli": "rebalance_cli",
}  # folder -> import name

# Import name -> the folders that may import it. What is not listed is free to all.
MAY_IMPORT = {
    "featurecache": {"featurecache", "cli"},
    "rebalance": {"rebalance", "cli"},
    "rebalance_cli": {"cli"},
    "cli": set[str](),  # the folder's name, never an import
    **{
        name: {"featurecache"}
        for name in (
            "h5py",
            "PIL",
            "timm",
            "torchvision",
            "transformers",
            "pyarrow",
            "onnx",
            "onnxruntime",
            "onnxscript",
        )
    },
    **{name: {"rebalance"} for name in ("sklearn", "scipy", "matplotlib", "jinja2", "markupsafe")},
    **{name: {"cli"} for name in ("click", "pandas", "rich")},
}
EXCEPTIONS = {
    ("rebalance/__main__.py", "rebalance_cli"),  # `python -m rebalance`
    ("featurecache/datasets/digits.py", "sklearn"),  # the digits are shipped inside scikit-learn
}

# Modules whose tests are not in the file of the mirrored name -> where they are.
TESTED_IN = {
    "rebalance/__main__.py": "tests/test_packaging.py",
    "featurecache/extraction/passes.py": "tests/featurecache/test_extract.py",
}

HEAVY = {
    "torch",
    "numpy",
    "h5py",
    "pandas",
    "rich",
    "sklearn",
    "scipy",
    "matplotlib",
    "jinja2",
    "PIL",
    "timm",
    "torchvision",
}


def python_files(*folders: str) -> list[str]:
    """Paths of the Python files under the folders, relative to the root."""
    return sorted(path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py"))


SOURCES = python_files(*FOLDERS)
ALL = python_files(*FOLDERS, "tests", "benchmarks")


def imports(source: str) -> Iterator[tuple[int, str]]:
    """(line, top-level name) of every absolute import in the source, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name.split(".")[0]) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield node.lineno, module.split(".")[0]
            case ast.Call(func=func, args=[ast.Constant(value=str(module)), *_]) if ast.unparse(func) in {
                "__import__",
                "import_module",
                "importlib.import_module",
            }:
                yield node.lineno, module.split(".")[0]


def strange_imports(path: str, source: str) -> list[str]:
    """One line for every import in the file that the house does not allow."""
    folder = path.split("/")[0]
    return [
        f"{path}:{line} imports {name}"
        for line, name in imports(source)
        if folder not in MAY_IMPORT.get(name, {folder}) and (path, name) not in EXCEPTIONS
    ]


def bad_names(path: str) -> list[str]:
    """Parts of the path that say nothing, or that hide a module of the standard library."""
    parts = PurePosixPath(path).with_suffix("").parts
    return [part for part in parts if part in {"utils", "helpers", "base", "manager"} | sys.stdlib_module_names]


def is_trivial(source: str) -> bool:
    """Whether the module only imports and names things: nothing in it that a test could be about."""
    return all(
        isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in ast.parse(source).body
    )


def test_file(path: str) -> str:
    """Path of the test file that covers the module at `path`."""
    module = PurePosixPath(path)
    mirrored = "test_package.py" if module.name == "__init__.py" else f"test_{module.name}"
    return TESTED_IN.get(path, f"tests/{module.parent}/{mirrored}")


test_file.__test__ = False  # type: ignore[attr-defined]  # a function about tests, not a test


@pytest.mark.parametrize("path", SOURCES)
def test_arrows_point_where_the_design_says(path: str) -> None:
    assert strange_imports(path, (ROOT / path).read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("featurecache/reader.py", "from rebalance.head import LinearHead"),
        ("rebalance/head.py", "import featurecache.reader as r"),
        ("rebalance/head.py", "def f():\n    import rebalance_cli"),
        ("rebalance/head.py", "import importlib\nimportlib.import_module('h5py')"),
        ("featurecache/writer.py", "import numpy, scipy.sparse"),
        ("featurecache/datasets/lists.py", "import sklearn"),
        ("featurecache/writer.py", "if True:\n    from rich.progress import track"),
        ("cli/main.py", "from matplotlib import pyplot"),
        ("cli/main.py", "from cli.options import seed"),
    ],
)
def test_a_wrong_import_is_seen(path: str, source: str) -> None:
    assert len(strange_imports(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cli/fit.py", "import click, rebalance, featurecache\nfrom rebalance_cli.options import seed"),
        ("rebalance/__main__.py", "from rebalance_cli.main import cli"),
        ("featurecache/datasets/digits.py", "from sklearn.datasets import load_digits"),
        ("featurecache/models/timm.py", "from . import rebalance\nimport timm, torch"),
    ],
)
def test_a_right_import_passes(path: str, source: str) -> None:
    assert strange_imports(path, source) == []


@pytest.mark.parametrize("path", ALL)
def test_names_say_something(path: str) -> None:
    assert bad_names(path) == []


def test_a_bad_name_is_seen() -> None:
    assert bad_names("cli/select.py") == ["select"]
    assert bad_names("rebalance/utils/io.py") == ["utils", "io"]
    assert bad_names("rebalance/methods/crt.py") == []


@pytest.mark.parametrize("path", ALL)
def test_files_stay_short(path: str) -> None:
    assert len((ROOT / path).read_text("utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", SOURCES)
def test_every_module_has_its_test_file(path: str) -> None:
    covered = is_trivial((ROOT / path).read_text("utf-8")) or (ROOT / test_file(path)).is_file()
    assert covered, f"{path} has no {test_file(path)}"


def test_the_table_of_other_test_files_is_needed() -> None:
    assert [path for path in TESTED_IN if path not in SOURCES] == []
    assert [
        path for path in TESTED_IN if (ROOT / "tests" / Path(path).with_name(f"test_{Path(path).name}")).exists()
    ] == []


def test_a_module_with_code_needs_a_test_file() -> None:
    assert is_trivial('"""Doc."""\nfrom a import b\n__all__ = ["b"]')
    assert not is_trivial("def f(): return 1")
    assert test_file("rebalance/methods/crt.py") == "tests/rebalance/methods/test_crt.py"
    assert test_file("rebalance/methods/__init__.py") == "tests/rebalance/methods/test_package.py"


def test_pyproject_names_every_package() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {PurePosixPath(path).parent.parts for path in SOURCES}
    assert sorted(setuptools["packages"]) == sorted(".".join((FOLDERS[top], *rest)) for top, *rest in folders)
    assert setuptools["package-dir"] == {"rebalance_cli": "cli"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_with_code_is_a_package(folder: str) -> None:
    folders = {(ROOT / path).parent for path in python_files(folder)}
    assert [str(path) for path in folders if not (path / "__init__.py").is_file()] == []


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, rebalance_cli.main as m\n"
        "m.cli(['--help'], standalone_mode=False)\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split("LOADED")[1].split())
    assert "click" in loaded  # the list is really there
    assert loaded & HEAVY == set()
