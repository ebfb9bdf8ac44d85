"""timm's names, and what is said where it is not installed."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest

from featurecache.models.timm.library import check_name, import_timm, knows

installed = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


@installed
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("resnet1", "did you mean resnet18"),
        ("hf-hub:someone/model", "timm has no model"),
        ("test_resnet.none", "has no weights 'none'"),
    ],
)
def test_a_name_timm_does_not_know_is_refused(name: str, part: str, refused: Any) -> None:
    with refused(part):
        check_name(import_timm(), name)


@installed
def test_names_are_known() -> None:
    assert knows("resnet18")
    assert not knows("convnet")
    check_name(import_timm(), "test_resnet.r160_in1k")


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with refused("is not installed", "pip install 'featurecache-rebalance[timm]'"):
        import_timm()
    assert not knows("resnet18")
