"""The plan: shard bounds, and a cache.json of which nothing is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache import layout
from featurecache.plan import CachePlan, SplitPlan, even_bounds, missing_shards, parse_plan, read_plan

FILE = Path("c/cache.json")
SPECIFICATION = {"source": "arrays", "features": {"dtype": "float16", "width": 2}, "logits": "none", "head": None}
MADE_WITH = {"device": "cpu", "threads": 2, "seed": 0, "versions": {"torch": "2.10"}}
TRAIN = SplitPlan(10, 4, (0, 8, 10), True, "ab", 2, MADE_WITH)
PLAN = CachePlan(SPECIFICATION, 3, ("a", "b", "é")).with_split("train", TRAIN)


def plan_with(**entries: Any) -> dict[str, Any]:
    """The document of PLAN with other entries."""
    return {**json.loads(json.dumps(PLAN.to_json())), **entries}


def plan_with_split(**entries: Any) -> dict[str, Any]:
    """The document of PLAN with other entries in its split."""
    document = plan_with()
    document["splits"]["train"] |= entries
    return document


@given(st.integers(1, 5_000), st.integers(1, 3_000), st.integers(1, 64), st.integers(1, 50_000), st.integers(1, 9))
def test_bounds_are_whole_batches_of_even_shares(rows: int, row_bytes: int, batch: int, limit: int, world: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featurecache.plan.SHARD_BYTES", limit)
        bounds = even_bounds(rows, row_bytes=row_bytes, batch_size=batch, world_size=world)
    assert bounds[0] == 0
    assert bounds[-1] == rows
    sizes = [stop - start for start, stop in pairwise(bounds)]
    assert all(size > 0 for size in sizes)
    assert all(size % batch == 0 for size in sizes[:-1])
    # As many files for every process, unless there are too few batches; no two differ by more than a batch.
    batches = [-(-size // batch) for size in sizes]
    assert len(sizes) % world == 0 or set(batches) == {1}
    assert max(batches) - min(batches) <= 1
    # One batch is never divided, however large its rows are; an even share is at most one batch above the limit.
    assert all(size * row_bytes < limit + batch * row_bytes for size in sizes)


def test_a_common_split_is_one_shard() -> None:
    # ImageNet-LT: 115,846 rows of 2,048 + 1,000 float32 are 1.4 GB.
    assert even_bounds(115_846, row_bytes=4 * 3_048, batch_size=256) == (0, 115_846)


def test_several_processes_get_a_file_each() -> None:
    assert even_bounds(115_846, row_bytes=4 * 3_048, batch_size=256, world_size=4) == (
        0,
        28_928,
        57_856,
        86_784,
        115_846,
    )
    assert even_bounds(5, row_bytes=1, batch_size=2, world_size=4) == (0, 2, 4, 5)
    assert even_bounds(1, row_bytes=1, batch_size=2, world_size=4) == (0, 1)


@pytest.mark.parametrize("rows", [0, -1])
def test_a_split_without_rows_is_refused(rows: int, refused: Any) -> None:
    with refused("without rows"):
        even_bounds(rows, row_bytes=1, batch_size=1)


def test_a_plan_comes_back(tmp_path: Path) -> None:
    plan = PLAN.with_split("val", SplitPlan(1, 1, (0, 1), None))
    plan.save(tmp_path)
    assert read_plan(tmp_path) == plan
    assert list(read_plan(tmp_path).splits) == ["train", "val"]


def test_cache_json_says_this(tmp_path: Path) -> None:
    PLAN.save(tmp_path)
    assert json.loads((tmp_path / "cache.json").read_text("utf-8")) == {
        "format": "featurecache",
        "schema": [1, 0],
        "specification": SPECIFICATION,
        "hash": layout.specification_hash(SPECIFICATION),
        "classes": 3,
        "class_names": ["a", "b", "é"],
        "splits": {
            "train": {
                "rows": 10,
                "views": 2,
                "batch_size": 4,
                "bounds": [0, 8, 10],
                "seen": True,
                "data": "ab",
                "made_with": MADE_WITH,
            }
        },
    }


def test_a_shard_carries_its_own_split_only() -> None:
    plan = PLAN.with_split("val", SplitPlan(1, 1, (0, 1), None))
    assert list(plan.to_json(only="val")["splits"]) == ["val"]
    assert parse_plan(plan.to_json(only="train"), FILE) == PLAN


def test_the_same_plan_fits() -> None:
    PLAN.check_same(replace(PLAN, splits={}), Path("c"))


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (
            {"specification": {**SPECIFICATION, "features": {"dtype": "float32", "width": 2}}},
            ["features dtype", "float16", "float32"],
        ),
        ({"specification": {**SPECIFICATION, "head": "x" * 500}}, ["head", "absent", "xxx"]),
        ({"specification": {**SPECIFICATION, "layer": "fc"}}, ["layer", "absent", "fc"]),
        ({"classes": 4}, ["classes", "3", "4"]),
        ({"class_names": ("a", "b", "c")}, ["class names", "é"]),
        ({"class_names": None}, ["class names", "absent"]),
    ],
)
def test_the_first_difference_is_named(other: dict[str, Any], parts: list[str], refused: Any) -> None:
    with refused("c: ", *parts):
        PLAN.check_same(replace(PLAN, **other), Path("c"))


def test_long_class_names_that_differ_at_the_end_show_the_difference(refused: Any) -> None:
    names = tuple(f"species number {i}" for i in range(100))
    one = CachePlan(SPECIFICATION, 100, (*names[:99], "wolf"))
    with refused("wolf", "fox"):
        one.check_same(CachePlan(SPECIFICATION, 100, (*names[:99], "fox")), Path("c"))


def test_missing_shards(tmp_path: Path) -> None:
    split = PLAN.splits["train"]
    assert list(missing_shards(tmp_path, "train", split)) == [0, 1]
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "00001.h5").touch()
    (tmp_path / "train" / "00000.h5.part").touch()
    assert list(missing_shards(tmp_path, "train", split)) == [0]


def test_a_missing_folder(tmp_path: Path, refused: Any) -> None:
    with refused("no such cache", "gone", error=FileNotFoundError):
        read_plan(tmp_path / "gone")


def test_a_file_and_a_folder_that_is_no_cache(tmp_path: Path, refused: Any) -> None:
    with refused("without cache.json", str(tmp_path)):
        read_plan(tmp_path)
    (tmp_path / "file").touch()
    with refused("a file", str(tmp_path / "file")):
        read_plan(tmp_path / "file")


def test_a_folder_name_of_several_lines(tmp_path: Path, refused: Any) -> None:
    with refused("no such cache", error=FileNotFoundError):
        read_plan(tmp_path / "a\nb\x1b[31m")


def test_cache_json_as_a_folder(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "cache.json").mkdir()
    with refused("without cache.json", str(tmp_path)):
        read_plan(tmp_path)


@pytest.mark.parametrize("schema", [[2, 0], [17, 3]])
def test_a_newer_cache_is_refused_with_the_way_out(schema: list[int], tmp_path: Path, refused: Any) -> None:
    (tmp_path / "cache.json").write_text(json.dumps(plan_with(schema=schema)))
    with refused("cache.json", "update featurecache-rebalance"):
        read_plan(tmp_path)


WRONG = {
    "format": (plan_with(format="featurecache.shard"), "format"),
    "schema": (plan_with(schema=1), "schema"),
    "no specification": (plan_with(specification=None), "specification"),
    "edited specification": (plan_with(specification={**SPECIFICATION, "logits": "float32"}), "hash"),
    "a specification of surrogates": (plan_with(specification={"model": "\ud800"}), "JSON"),
    "hash": (plan_with(hash="0" * 64), "hash"),
    "no classes": (plan_with(classes=None), "classes"),
    "zero classes": (plan_with(classes=0), "classes"),
    "classes as a boolean": (plan_with(classes=True, class_names=None), "classes"),
    "huge classes": (plan_with(classes=10**4000, class_names=None), "classes"),
    "too few names": (plan_with(class_names=["a"]), "class_names"),
    "names of numbers": (plan_with(class_names=[1, 2, 3]), "class_names"),
    "names as text": (plan_with(class_names="abc"), "class_names"),
    "no splits": (plan_with(splits=None), "splits"),
    "splits as a list": (plan_with(splits=["train"]), "splits"),
    "a split outside": (plan_with(splits={"../x": plan_with()["splits"]["train"]}), "../x"),
    "a split of nothing": (plan_with(splits={"train": None}), "train"),
    "rows": (plan_with_split(rows="10"), "train"),
    "negative rows": (plan_with_split(rows=-1, bounds=[0, -1]), "train"),
    "no rows": (plan_with_split(rows=0, bounds=[0]), "train"),
    "batch size": (plan_with_split(batch_size=0), "train"),
    "huge rows": (plan_with_split(rows=2**41, bounds=[0, 2**41]), "train"),
    "bounds": (plan_with_split(bounds=None), "train"),
    "empty bounds": (plan_with_split(bounds=[]), "train"),
    "nested bounds": (plan_with_split(bounds=[[0, 10]]), "train"),
    "bounds that end early": (plan_with_split(bounds=[0, 9]), "train"),
    "bounds that start late": (plan_with_split(bounds=[1, 10]), "train"),
    "bounds that stand still": (plan_with_split(bounds=[0, 5, 5, 10]), "train"),
    "bounds that go back": (plan_with_split(bounds=[0, 8, 4, 10]), "train"),
    "bounds of floats": (plan_with_split(bounds=[0, 10.0]), "train"),
    "seen": (plan_with_split(seen="yes"), "seen"),
    "seen as a number": (plan_with_split(seen=1), "seen"),
    "data": (plan_with_split(data=5), "data"),
    "views": (plan_with_split(views=0), "train"),
    "views that do not divide the rows": (plan_with_split(views=3), "views"),
    "views as text": (plan_with_split(views="2"), "train"),
    "made with": (plan_with_split(made_with=[]), "made_with"),
}


@pytest.mark.parametrize(("document", "part"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_entry_is_refused(document: dict[str, Any], part: str, tmp_path: Path, refused: Any) -> None:
    (tmp_path / "cache.json").write_text(json.dumps(document))
    with refused("cache.json", part):
        read_plan(tmp_path)


def test_nested_too_deeply(tmp_path: Path, refused: Any) -> None:
    # Near the depth at which the parser gives up, whatever handles the value afterwards must not fail instead.
    file = tmp_path / "cache.json"
    template = json.dumps(plan_with(specification="@"))

    def read(depth: int) -> None:
        file.write_text(template.replace('"@"', '{"a":' * depth + "1" + "}" * depth))
        with refused("cache.json"):
            read_plan(tmp_path)

    low, high = 100, 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        try:
            layout.parse_json(b'{"a":' * middle + b"1" + b"}" * middle, FILE)
            low = middle
        except ValueError:
            high = middle
    for depth in range(low - 30, low + 3):
        read(depth)


ENTRIES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(plan_with(), ENTRIES)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(PLAN.to_json()["splits"]["train"], ENTRIES)),
)
def test_any_plan_is_read_or_refused(read_or_refused: Any, outer: dict[str, Any], inner: dict[str, Any]) -> None:
    document = json.loads(json.dumps({**plan_with_split(**inner), **outer}))

    def read() -> CachePlan:
        layout.check_format(document, layout.CACHE_FORMAT, FILE)
        return parse_plan(document, FILE)

    plan = read_or_refused(read)
    if plan is None:
        return
    assert plan.classes >= 1
    for split in plan.splits.values():
        assert split.rows >= 1
        assert split.bounds == tuple(sorted(set(split.bounds)))


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, read_or_refused: Any, flips: list[tuple[float, int]]
) -> None:
    cache = tmp_path_factory.mktemp("damaged")
    PLAN.save(cache)
    data = bytearray((cache / "cache.json").read_bytes())
    for place, value in flips:
        data[int(place * len(data))] = value
    (cache / "cache.json").write_bytes(data)
    plan = read_or_refused(lambda: read_plan(cache), "cache.json")
    # Numbers and names outside the specification have no checksum here; the shards are checked against them.
    assert plan is None or plan.specification == SPECIFICATION
