"""transformers where it is installed, and quiet."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from featurecache.models.huggingface.library import import_transformers, quiet


def test_noise_is_off_inside_and_as_before_outside(transformers: ModuleType) -> None:
    logging = transformers.utils.logging
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    with suppress(KeyError), quiet(transformers):
        assert not logging.is_progress_bar_enabled()
        assert logging.get_verbosity() == logging.ERROR
        raise KeyError
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with refused("transformers is not installed", "pip install 'featurecache-rebalance[hf]'"):
        import_transformers()
