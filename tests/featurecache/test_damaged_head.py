"""A head that is not the one a cache was made with is refused; the rows can still be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from featurecache import FeatureCache, write

N, D, K = 6, 3, 4
FEATURES = np.arange(N * D, dtype=np.float32).reshape(N, D)
HEAD = (torch.arange(12.0).reshape(K, D), torch.arange(4.0))


def make(path: Path) -> Path:
    """A cache with a head."""
    write(path, "train", FEATURES, [0, 1, 2, 3, -1, 0], head=HEAD)
    return path


HEADS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "missing": (lambda file: file.unlink(), []),
    "empty": (lambda file: file.write_bytes(b""), []),
    "text": (lambda file: file.write_text("a head"), []),
    "cut short": (lambda file: file.write_bytes(file.read_bytes()[:-1]), []),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), []),
    "a huge header": (lambda file: file.write_bytes((2**62).to_bytes(8, "little") + file.read_bytes()[8:]), []),
    "no bias": (lambda file: save_file({"weight": HEAD[0]}, file), ["bias"]),
    "other names": (lambda file: save_file({"w": HEAD[0], "b": HEAD[1]}, file), ["weight"]),
    "other classes": (
        lambda file: save_file({"weight": torch.ones(5, D), "bias": torch.ones(5)}, file),
        ["(5, 3)", "4"],
    ),
    "other width": (lambda file: save_file({"weight": torch.ones(K, 9), "bias": torch.ones(K)}, file), ["(4, 9)"]),
    "flat": (lambda file: save_file({"weight": torch.ones(K * D), "bias": torch.ones(K)}, file), ["(12,)"]),
    "other bias": (lambda file: save_file({"weight": HEAD[0], "bias": torch.ones(1)}, file), ["(1,)"]),
    "nan": (lambda file: save_file({"weight": HEAD[0] * torch.nan, "bias": HEAD[1]}, file), []),
    "complex": (lambda file: save_file({"weight": HEAD[0] * 1j, "bias": HEAD[1]}, file), []),
    "another cache's": (lambda file: save_file({"weight": HEAD[0] + 1, "bias": HEAD[1]}, file), []),
}


@pytest.mark.parametrize(("damage", "parts"), HEADS.values(), ids=HEADS.keys())
def test_a_head_that_is_not_the_caches(
    damage: Callable[[Path], Any], parts: list[str], tmp_path: Path, refused: Any
) -> None:
    cache = make(tmp_path / "c")
    damage(cache / "head.safetensors")
    with refused(str(cache / "head.safetensors"), *parts):
        _ = FeatureCache(cache).head
    assert np.array_equal(FeatureCache(cache)["train"].features, FEATURES)
