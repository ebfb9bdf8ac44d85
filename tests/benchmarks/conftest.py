"""The modules of benchmarks/, which lie in no package and are forgotten after each file of tests."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def parts() -> Iterator[Callable[[str], Any]]:
    """A module of benchmarks/ by its name; what was imported from there is forgotten afterwards."""
    known, path = set(sys.modules), sys.path[:]
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(BENCHMARKS)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def study(parts: Callable[[str], Any]) -> Any:
    """benchmarks/study.py as a module; its parts are attributes: study.parts("estimates")."""
    pytest.importorskip("resvg_py")  # one of the sets is drawn with it
    module = parts("study")
    module.parts = lambda name: parts(f"studying.{name}")
    return module


@pytest.fixture
def made(study: Any) -> Callable[..., Any]:
    """A set of the study: made(name, …)."""

    def of(name: str, **fields: Any) -> Any:
        return study.parts("sets").StudySet(name, f"Set {name}", "From nowhere.", (20, 60), **fields)

    return of
