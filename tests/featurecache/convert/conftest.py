"""What the tests of foreign formats share: columns, a cache of them, reading a file whole, and damage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from featurecache import FeatureCache, write
from featurecache.convert import format_of

Columns: TypeAlias = dict[str, Any]
Gathered: TypeAlias = Callable[..., Columns]

ROWS, WIDTH, CLASSES = 37, 5, 3


@pytest.fixture
def columns() -> Columns:
    """Features (37, 5) and logits (37, 3) in float32, labels with some -1, names that are not ASCII."""
    random = np.random.default_rng(0)
    labels = random.integers(-1, CLASSES, ROWS)
    labels[-1] = CLASSES - 1
    return {
        "features": random.normal(size=(ROWS, WIDTH)).astype(np.float32),
        "labels": labels,
        "logits": random.normal(size=(ROWS, CLASSES)).astype(np.float32),
        "sample_id": [f"bild-ä/{i}.png" for i in range(ROWS)],
    }


@pytest.fixture
def cache(tmp_path: Path, columns: Columns) -> FeatureCache:
    """A cache of the columns as train, the first twenty as val, with a head."""
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(CLASSES, WIDTH, generator=generator), torch.randn(CLASSES, generator=generator)
    for split, rows in {"train": ROWS, "val": 20}.items():
        part = {name: values[:rows] for name, values in columns.items()}
        ids = part.pop("sample_id")
        write(tmp_path / "some.cache", split, **part, sample_ids=ids, head=head, dtype="float32")
    return FeatureCache(tmp_path / "some.cache")


def _gathered(path: Path, names: Mapping[str, str] | None = None) -> Columns:
    found = format_of(path)
    assert found.read is not None
    blocks = list(found.read(path, names or {}))
    assert len({frozenset(block) for block in blocks}) == 1, "every block has the same columns"
    assert all(len({len(values) for values in block.values()}) == 1 for block in blocks)
    parts = {name: [block[name] for block in blocks] for name in blocks[0]}
    return {name: [*chain(*them)] if name == "sample_id" else np.concatenate(them) for name, them in parts.items()}


@pytest.fixture(scope="session")
def gathered() -> Gathered:
    """All rows of a foreign file: `gathered(path, names)`."""
    return _gathered


@pytest.fixture(scope="session")
def same_rows() -> Callable[[Columns, Columns], None]:
    """Expects two sets of columns to hold the same values."""

    def same(found: Columns, expected: Columns) -> None:
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(values), err_msg=name)

    return same


@pytest.fixture(scope="session")
def damaged() -> Callable[[st.DataObject, bytes], bytes]:
    """The bytes of a file after something happened to them: `damaged(data, original)`."""

    def damage(data: st.DataObject, original: bytes) -> bytes:
        out = bytearray(original)
        for _ in range(data.draw(st.integers(1, 3))):
            # The ends hold the headers.
            place = data.draw(st.integers(-1000, 1000) | st.integers(-len(out), len(out) - 1)) % len(out)
            change = data.draw(st.sampled_from(["set", "cut", "insert", "number"]))
            if change == "set":
                out[place] = data.draw(st.integers(0, 255))
            elif change == "cut":
                del out[place : data.draw(st.sampled_from([place + 1, place + 8, len(out)]))]
            else:
                number = data.draw(st.sampled_from([0, 1, 127, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]))
                size = data.draw(st.sampled_from([1, 4, 8]))
                end = place + size if change == "number" else place
                out[place:end] = (number % 256**size).to_bytes(size, data.draw(st.sampled_from(["little", "big"])))
            if not out:
                return b""
        return bytes(out)

    return damage


@pytest.fixture(scope="session")
def plausible() -> Callable[[Columns | None], None]:
    """Expects columns, where there are any, to be what a cache is written from."""

    def check(found: Columns | None) -> None:
        if found is None:
            return
        assert "features" in found
        assert found["features"].ndim == 2
        assert found["features"].dtype.kind == "f"
        assert found.get("labels", np.zeros(1, np.int64)).dtype == np.int64
        assert {type(name) for name in found.get("sample_id", [""])} == {str}

    return check
