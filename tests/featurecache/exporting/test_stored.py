"""Weights of a file, and of a folder's files together."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from featurecache.exporting.stored import read_stored

TENSORS = {"a.weight": torch.ones(2, 3), "b.weight": torch.zeros(4), "b.bias": torch.ones(4)}


def sharded(folder: Path, *shards: dict[str, Tensor], ending: str = ".safetensors") -> Path:
    """A folder in which each of the state dicts is a shard."""
    folder.mkdir()
    stem = "model" if ending == ".safetensors" else "pytorch_model"
    names = [f"{stem}-{number}{ending}" for number in range(len(shards))]
    for name, state in zip(names, shards, strict=True):
        save_file(state, folder / name) if ending == ".safetensors" else torch.save(state, folder / name)
    found = {tensor: name for name, state in zip(names, shards, strict=True) for tensor in state}
    (folder / f"{stem}{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": found}))
    return folder


@pytest.mark.parametrize("ending", [".bin", ".safetensors"])
def test_the_shards_together_are_the_state(ending: str, tmp_path: Path) -> None:
    first, second = ({name: value for name, value in TENSORS.items() if (name[0] == "a") is a} for a in (True, False))
    stored = read_stored(sharded(tmp_path / "in", first, second, ending=ending))
    state = stored.state()
    assert state.keys() == TENSORS.keys()
    assert all(torch.equal(state[name], TENSORS[name]) for name in state)
    assert stored.file_of("b.bias").stem.endswith("-1")
    assert stored.file_of("a.weight").stem.endswith("-0")


def test_a_prefix_counts_where_all_shards_have_it(tmp_path: Path) -> None:
    lead = {f"module.{name}": value for name, value in TENSORS.items()}
    first, second = {"module.a.weight": lead.pop("module.a.weight")}, lead
    stored = read_stored(sharded(tmp_path / "both", first, second))
    assert stored.state().keys() == TENSORS.keys()
    assert stored.file_of("a.weight").name == "model-0.safetensors"
    stored = read_stored(sharded(tmp_path / "one", first, {"b.bias": torch.ones(4)}))
    assert [*stored.state()] == ["module.a.weight", "b.bias"]
    assert stored.file_of("module.a.weight").name == "model-0.safetensors"


def test_versions_of_all_shards_are_kept(tmp_path: Path) -> None:
    first, second = OrderedDict(a=torch.ones(1)), OrderedDict(b=torch.ones(1))
    vars(first)["_metadata"] = OrderedDict(a={"version": 1})
    vars(second)["_metadata"] = OrderedDict(b={"version": 2})
    state = read_stored(sharded(tmp_path / "in", first, second, ending=".bin")).state()
    assert vars(state)["_metadata"] == {"a": {"version": 1}, "b": {"version": 2}}


def test_one_file(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    stored = read_stored(tmp_path / "w.safetensors")
    assert stored.folder is None
    assert stored.file_of("a.weight") == tmp_path / "w.safetensors"


def test_faulty_shards_are_refused(tmp_path: Path, refused: Any) -> None:
    twice = sharded(tmp_path / "twice", TENSORS, {"a.weight": torch.ones(2, 3), "c": torch.ones(1)})
    with refused("'a.weight' lies in two shards"):
        read_stored(twice)
    short = sharded(tmp_path / "short", TENSORS)
    save_file({"a.weight": torch.ones(1)}, short / "model-0.safetensors")
    with refused("'b.weight' lies in 'model-0.safetensors', and it does not"):
        read_stored(short)
    (short / "model-0.safetensors").write_bytes(b"junk")
    with refused("model-0.safetensors", "not a safetensors file"):
        read_stored(short)
    with refused("is the index of a model in shards; give the folder"):
        read_stored(short / "model.safetensors.index.json")
    with refused("no averaged weights"):
        read_stored(sharded(tmp_path / "good", TENSORS), ema=True)
    with refused("does not exist", error=FileNotFoundError):
        read_stored(tmp_path / "absent")
