"""torchvision imports beside a PyTorch without CUDA."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import ModuleType

import pytest

from featurecache.models.torchvision import library as source
from featurecache.models.torchvision.library import import_torchvision

needs_torchvision = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="no torchvision here")


@needs_torchvision
def test_transforms_run_in_a_fresh_process() -> None:
    code = (
        "from featurecache.models.torchvision.library import import_torchvision as load; first = load(); "
        "import torchvision.transforms as T, torch; from PIL import Image; "
        "assert load() is first; print(T.Compose([T.Resize(8), T.ToTensor()])(Image.new('RGB', (9, 9))).shape)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.stdout == "torch.Size([3, 8, 8])\n", done.stderr


@needs_torchvision
def test_a_second_call_changes_nothing() -> None:
    assert import_torchvision() is import_torchvision()


def test_another_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> ModuleType:
        raise RuntimeError("something else")

    monkeypatch.setattr(source.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="something else"):
        import_torchvision()


def test_without_torchvision_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        import_torchvision()
    assert caught.value.name == "torchvision"
