"""The program that tries a package, run as the doctor runs it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from featurecache.checkup import trial


def tried(package: str, *folders: Path) -> dict[str, str]:
    """The answer of a process of its own, in whose way these folders stand."""
    code = (
        f"import sys; sys.path[:0] = {[str(folder) for folder in folders]}; "
        f"from runpy import run_path; run_path({trial.__file__!r})['main']({package!r})"
    )
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    found: dict[str, str] = json.loads(run.stdout)
    return found


def test_a_package_that_works_says_so() -> None:
    pytest.importorskip("pyarrow")
    assert tried("pyarrow") == {"said": "written and read"}


def test_a_package_that_is_half_there_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "pyarrow").mkdir()
    broken = "print('hello')\nraise RuntimeError('library not found\\nat all')"
    (tmp_path / "pyarrow" / "__init__.py").write_text(broken, "utf-8")
    assert tried("pyarrow", tmp_path) == {"error": "RuntimeError: library not found\nat all"}


def test_a_torchvision_of_another_pytorch_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("import no_such_symbol_of_torch", "utf-8")
    assert "no_such_symbol_of_torch" in tried("torchvision", tmp_path)["error"]


def test_a_package_that_is_absent_is_no_error() -> None:
    code = (
        "import importlib.util, runpy; importlib.util.find_spec = lambda name: None; "
        f"runpy.run_path({trial.__file__!r})['main']('timm')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(run.stdout) == {"absent": "timm"}


@pytest.mark.parametrize("bias", [0.0, math.nan])
def test_only_finite_logits_will_do(bias: float) -> None:
    layer = nn.Linear(3, 2)
    nn.init.constant_(layer.bias, bias)
    if math.isnan(bias):
        with pytest.raises(ValueError, match="not finite"):
            trial._forward(layer, torch.zeros(3))
    else:
        trial._forward(layer, torch.zeros(3))
