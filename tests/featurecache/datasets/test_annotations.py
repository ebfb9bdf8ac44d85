"""What is read of an iNaturalist or COCO file."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurecache.datasets.annotations import MAX_BYTES, Annotation, Category, Picture, Records, read_records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.json"


def read(path: Path, text: str | bytes) -> Records:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_records(path)


def test_records_in_their_order(path: Path) -> None:
    text = """{"x": [{"y": NaN}], "categories": [{"name": "b", "id": 7, "more": [1e400]}, {"id": -1}],
        "annotations": [{"id": 1, "category_id": 7, "image_id": "u", "file_name": "u.png"}],
        "images": [{"file_name": "b", "id": "u"}, {"id": 3, "width": 1e9, "file_name": "a"}]}"""
    assert read(path, "\ufeff" + text) == Records(
        [Picture("u", "b"), Picture(3, "a")], [Annotation("u", 7)], [Category(7, "b"), Category(-1, "")]
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["not readable as JSON"]),
        ("{", ["not readable as JSON"]),
        ("[1]", ["is neither iNaturalist nor COCO"]),
        ('{"image": []}', ["is neither iNaturalist nor COCO", "images, annotations and categories"]),
        ('{"id": 1, "file_name": "x"}', ["is neither"]),
        ('{"images": {}}', ["'images' is dict, expected a list"]),
        ('{"images": [], "images": []}', ["a key comes twice"]),
        ('{"images": [{"id": 1, "id": 2, "file_name": "x"}]}', ["a key comes twice"]),
        ('{"images": [3]}', ["images[0] is bad, expected an id and the text file_name"]),
        ('{"images": [{"id": 1}]}', ["images[0]"]),
        ('{"images": [{"file_name": "x"}]}', ["images[0]"]),
        ('{"images": [{"id": 1.0, "file_name": "x"}]}', ["images[0]"]),
        ('{"images": [{"id": true, "file_name": "x"}]}', ["images[0]"]),
        ('{"images": [{"id": NaN, "file_name": "x"}]}', ["images[0]"]),
        ('{"images": [{"id": 9223372036854775808, "file_name": "x"}]}', ["images[0]"]),
        ('{"images": [{"id": 1, "file_name": null}]}', ["images[0]"]),
        ('{"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}', ["annotations[0]", "category_id"]),
        ('{"images": [], "annotations": [{"image_id": 1, "category_id": "2"}]}', ["annotations[0]"]),
        ('{"images": [], "annotations": [{"id": 1, "file_name": "x"}]}', ["annotations[0]"]),
        ('{"images": [], "categories": [{"id": "1", "name": "x"}]}', ["categories[0]"]),
        ('{"images": [], "categories": [{"id": 1, "name": 2}]}', ["categories[0]"]),
        ('{"images": [], "categories": [[]]}', ["categories[0]"]),
        ('{"images": ' + "[" * 100_000, ["not readable as JSON"]),
        ('{"images": [' + "9" * 10_000 + "]}", ["not readable as JSON"]),
        (b'{"images": "\xff"}', ["not UTF-8 at byte 12"]),
        ('{"images": []}'.encode("utf-16"), ["not UTF-8"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_something_else_is_refused(path: Path, text: str | bytes, parts: list[str], refused: Any) -> None:
    with refused("a.json", *parts):
        read(path, text)


def test_large_files_and_pipes_are_refused_before_they_are_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    monkeypatch.setattr("featurecache.datasets.annotations.MAX_BRACKETS", 5)
    with refused("a.json", "more than 5 brackets"):
        read(path, '{"images": [[[[[[]]]]]]}')
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with refused("a.json", "larger than 2 GiB"):
        read_records(path)
    path.unlink()
    os.mkfifo(path)
    with refused("a.json", "not a regular file"):
        read_records(path)


def test_what_is_not_needed_is_not_kept(path: Path) -> None:
    outline = [[0.5] * 200]
    value = {
        "images": [{"id": i, "file_name": f"{i}"} for i in range(2000)],
        "annotations": [{"image_id": i, "category_id": 0, "segmentation": outline} for i in range(2000)],
    }
    path.write_text(json.dumps(value))
    tracemalloc.start()
    try:
        read_records(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Its bytes and its text are there at once; the outlines as Python lists would be three more times as large.
    assert peak < 2.6 * path.stat().st_size


KEYS = st.sampled_from(["id", "file_name", "image_id", "category_id", "name", "images", "annotations", "categories"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(st.fixed_dictionaries({"images": JSON, "annotations": JSON, "categories": JSON}) | JSON)
def test_any_json_is_read_or_refused(tmp_path_factory: Any, read_or_refused: Any, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value))
    read_or_refused(lambda: read_records(path), "any.json")
