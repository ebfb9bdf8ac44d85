"""What the child lists: taken in its types or refused, whatever it says."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.convert.hdf5.listing import parse_listing

ENTRY: dict[str, Any] = {
    "shape": [5, 7], "chunk": [2, 7], "filters": [[2, 4], [1, 6]], "layout": "chunked", "dtype": "<f4",
}  # fmt: skip


def parsed(entry: Any, sizes: Any = (8, 8)) -> Any:
    """The only dataset of a list."""
    return parse_listing({"base": 0, "sizes": list(sizes), "datasets": {"x": entry}})[0]["x"]


def test_a_description_in_its_types() -> None:
    found = parsed(ENTRY)
    assert found.refused == ""
    assert found.stored.dtype == np.float32
    assert (found.stored.shape, found.stored.chunk, found.stored.filters) == ((5, 7), (2, 7), ((2, 4), (1, 6)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"filters": [[32001, 0]]}, "filter 32001"),
        ({"filters": [[1, 1], [1, 1]]}, "twice"),
        ({"filters": [[1, 1], [32000, 1]]}, "twice"),
        ({"dtype": "|S5000"}, "5000 bytes"),
        ({"dtype": "|S"}, "no sense"),
        ({"dtype": "O"}, "no sense"),
        ({"dtype": "|V8"}, "no sense"),
        ({"shape": [2**40, 7], "chunk": [1, 7]}, "chunks"),
        ({"shape": [0, 7]}, "empty"),
        ({"shape": []}, "no sense"),
        ({"shape": [-1, 7]}, "no sense"),
        ({"shape": [True, 7]}, "no sense"),
        ({"shape": [5.0, 7]}, "no sense"),
        ({"shape": [2**63, 7]}, "no sense"),
        ({"shape": [1] * 40, "chunk": [1] * 40}, "no sense"),
        ({"chunk": [0, 7]}, "no sense"),
        ({"chunk": [2]}, "no sense"),
        ({"layout": "virtual"}, "no sense"),
        ({"layout": "compact", "chunk": [], "shape": [2**20]}, "compact"),
        ({"refused": ""}, "''"),
        ({"refused": "a\nb\x1b[2J" + "x" * 10_000}, "\\n"),
    ],
)
def test_a_strange_description_is_refused(change: dict[str, Any], says: str) -> None:
    refused = parsed(ENTRY | change).refused
    assert says in refused
    assert refused.isprintable()
    assert len(refused) < 200


def test_texts_at_short_addresses_are_refused() -> None:
    assert "8 bytes" in parsed(ENTRY | {"dtype": "text"}, sizes=(4, 8)).refused


@pytest.mark.parametrize(
    "said", [{}, {"base": -1, "datasets": {}}, {"base": 0, "datasets": []}, {"base": 2**64, "datasets": {}}]
)
def test_no_list_at_all(said: dict[str, Any], refused: Any) -> None:
    with refused("list"):
        parse_listing(said)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["<f4", "text", "|S9"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*ENTRY, "padding", "offset", "refused"]), JSON, max_size=3))
def test_any_description_is_taken_or_refused(changes: dict[str, Any]) -> None:
    found = parsed(copy.deepcopy(ENTRY) | changes)
    stored = found.stored
    assert found.refused or (stored.shape and all(type(n) is int and n > 0 for n in stored.shape))
    assert found.refused or stored.dtype.itemsize <= 4096


@given(JSON)
def test_any_entry_is_taken_or_refused(entry: Any) -> None:
    assert parsed(entry).refused
