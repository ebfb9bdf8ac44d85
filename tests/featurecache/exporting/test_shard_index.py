"""Indices of models in shards: what they say, and what strangers wrote into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.exporting import shard_index
from featurecache.exporting.shard_index import check_shards, read_index, read_object

SHARDS = {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"}


def written(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_the_shard_of_every_tensor(tmp_path: Path) -> None:
    index = written(tmp_path / "i.json", {"metadata": {"total_size": 8}, "weight_map": SHARDS})
    assert read_index(index, ".safetensors") == SHARDS


@pytest.mark.parametrize(
    "name",
    [
        *("../x.safetensors", "/etc/x.safetensors", "..\\x.safetensors", "C:\\x.safetensors", "C:x.safetensors"),
        *("a/../../x.safetensors", "./x.safetensors", "sub/x.safetensors", "x\0.safetensors", "x\n.safetensors"),
        *("..", ".", "", "x.bin", "x.safetensors/", "model.safetensors.part", "x" * 5000 + "/.safetensors"),
    ],
)
def test_names_that_are_no_file_beside_the_index_are_refused(name: str, tmp_path: Path, refused: Any) -> None:
    index = written(tmp_path / "i.json", {"weight_map": {**SHARDS, "c.weight": name}})
    with refused("i.json", "'c.weight'", "expected the name of a .safetensors file beside the index"):
        read_index(index, ".safetensors")


@given(st.text(max_size=20).map(lambda text: f"{text}.bin"))
def test_what_is_accepted_is_a_name_in_the_folder(
    tmp_path_factory: pytest.TempPathFactory, read_or_refused: Any, name: str
) -> None:
    folder = tmp_path_factory.mktemp("index")
    index = written(folder / "i.json", {"weight_map": {"a": name}})
    shards = read_or_refused(lambda: read_index(index, ".bin"), "i.json")
    assert shards in (None, {"a": name})
    if shards is not None:
        assert ((folder / name).parent, (folder / name).name) == (folder, name)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[]", "holds a list, expected a JSON object"),
        ("3", "holds a int, expected a JSON object"),
        ("{}", "weight_map is not there"),
        ('{"weight_map": []}', "weight_map is a list"),
        ('{"weight_map": {}}', "weight_map is an empty object"),
        ('{"weight_map": "x"}', "weight_map is a text"),
        ('{"weight_map": {"a": 3}}', "'a' lies in a int"),
        ('{"weight_map": {"a": null}}', "'a' lies in not there"),
        ('{"weight_map": {"a": "1.safetensors", "a": "2.safetensors"}}', "it has 'a' twice"),
        ('{"weight_map": {"a": "1.saf', "is not JSON that can be read"),
        ("\udcff", "is not JSON that can be read"),
        ("[" * 100_000, "is not JSON that can be read: too deeply nested"),
        ("9" * 10_000, "is not JSON that can be read"),
        ("", "is not JSON that can be read"),
    ],
)
def test_what_is_no_index_is_refused(text: str, part: str, tmp_path: Path, refused: Any) -> None:
    (tmp_path / "i.json").write_bytes(text.encode(errors="surrogateescape"))
    with refused("i.json", part):
        read_index(tmp_path / "i.json", ".safetensors")


def test_a_huge_index_is_not_read(tmp_path: Path, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_index, "MAX_BYTES", 1000)
    text = json.dumps({"weight_map": SHARDS})
    assert read_object(written(tmp_path / "i.json", text.ljust(1000)))
    with refused("i.json' is larger than 1,000 bytes"):
        read_object(written(tmp_path / "i.json", text.ljust(1001)))


def test_shards_hold_what_the_index_says_and_nothing_twice(refused: Any) -> None:
    held = {"model-1.safetensors": {"a.weight"}, "model-2.safetensors": {"b.weight", "not in the index"}}
    check_shards(Path("i.json"), SHARDS, held)
    with refused("'b.weight' lies in 'model-2.safetensors', and it does not"):
        check_shards(Path("i.json"), SHARDS, {**held, "model-2.safetensors": set()})
    with refused("'a.weight' lies in two shards, 'model-1.safetensors' and 'model-2.safetensors'"):
        check_shards(Path("i.json"), SHARDS, {**held, "model-2.safetensors": {"a.weight", "b.weight"}})
