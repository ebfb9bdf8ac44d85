"""Names in memory and names in files, and weights of a folder that lead out of it or hold more than tensors."""

from __future__ import annotations

import argparse
import fractions
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from featurecache.models.huggingface.kind import kind_of
from featurecache.models.huggingface.library import quiet
from featurecache.models.huggingface.opening import open_huggingface
from featurecache.models.huggingface.weights import in_todays_names
from featurecache.models.naming import fitted

FORMS = ("safetensors", "bin")


@pytest.fixture
def in_shards(hf_folder: Callable[..., Path]) -> Callable[[str], tuple[Path, Path, Path]]:
    """A saved model with an index, in one of FORMS: the folder, the index and the one shard with all tensors."""

    def save(form: str) -> tuple[Path, Path, Path]:
        folder = hf_folder("ViTForImageClassification")
        whole = folder / "model.safetensors"
        state = load_file(whole)
        shard = folder / f"model-00001-of-00001.{form}"
        index = folder / ("model.safetensors.index.json" if form == "safetensors" else "pytorch_model.bin.index.json")
        index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(state, shard.name)}))
        if form == "safetensors":
            whole.rename(shard)
        else:
            torch.save(state, shard)
            whole.unlink()
        return folder, index, shard

    return save


@pytest.mark.parametrize("wrapper", ["", "model.", "model.net."])
def test_names_of_files_become_those_of_memory(
    transformers: ModuleType, hf_folder: Callable[..., Path], wrapper: str
) -> None:
    folder = hf_folder("ViTForImageClassification", num_labels=4)
    with quiet(transformers):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        memory = transformers.ViTForImageClassification.from_pretrained(folder).state_dict()
        kind = kind_of(transformers, config, "hf:x")
        config.num_labels = 9  # the checkpoint's classifier comes back although it does not fit
        saved = {wrapper + name: value for name, value in load_file(folder / "model.safetensors").items()}
        renamed = in_todays_names(kind, config, saved, checkpoint="w.pt")
    renamed = fitted(renamed, memory, checkpoint="w.pt").state  # what a version leaves that uses one kind of names
    assert renamed.keys() == memory.keys()
    assert all(torch.equal(renamed[name], value) for name, value in memory.items())


def test_names_of_memory_and_of_other_models_stay(transformers: ModuleType, hf_folder: Callable[..., Path]) -> None:
    folder = hf_folder("ViTForImageClassification")
    with quiet(transformers):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        memory = transformers.ViTForImageClassification.from_pretrained(folder).state_dict()
        kind = kind_of(transformers, config, "hf:x")
        other = {"conv1.weight": torch.zeros(3), "fc.bias": torch.zeros(2)}
        assert in_todays_names(kind, config, memory, checkpoint="w.pt") is memory
        assert in_todays_names(kind, config, other, checkpoint="w.pt") is other


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["above", "absolute", "below", "number"])
def test_an_index_names_files_of_its_folder_alone(
    in_shards: Callable[[str], tuple[Path, Path, Path]], tmp_path: Path, form: str, kind: str, refused: Any
) -> None:
    folder, index, shard = in_shards(form)
    open_huggingface(str(folder))
    (tmp_path / "secret").mkdir()
    (folder / "below").mkdir()
    secret = tmp_path / "secret" / shard.name
    shard.rename(secret)
    (folder / "below" / shard.name).write_bytes(secret.read_bytes())
    named = {"above": f"../secret/{shard.name}", "absolute": str(secret), "below": f"below/{shard.name}", "number": 5}
    held = json.loads(index.read_text())
    held["weight_map"] = dict.fromkeys(held["weight_map"], named[kind])
    index.write_text(json.dumps(held))
    with refused(str(index), f"expected the name of a .{form} file beside the index, without a path"):
        open_huggingface(str(folder))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", ["index", "shard", "whole"])
def test_links_out_of_the_folder_are_not_followed(
    in_shards: Callable[[str], tuple[Path, Path, Path]], tmp_path: Path, form: str, what: str, refused: Any
) -> None:
    folder, index, shard = in_shards(form)
    linked = index if what == "index" else shard
    if what == "whole":
        index.unlink()
        linked = shard.rename(folder / ("model.safetensors" if form == "safetensors" else "pytorch_model.bin"))
    open_huggingface(str(folder))
    linked.rename(tmp_path / "secret")
    linked.symlink_to(tmp_path / "secret")
    with refused(str(linked), "is a link that leads out of its folder"):
        open_huggingface(str(folder))


@pytest.mark.parametrize("form", FORMS)
def test_snapshots_of_the_hubs_cache_are_read(
    in_shards: Callable[[str], tuple[Path, Path, Path]], tmp_path: Path, form: str
) -> None:
    folder, _, _ = in_shards(form)
    expected = open_huggingface(str(folder)).module.state_dict()
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(folder.iterdir()):
        file.rename(blobs / f"{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    found = open_huggingface(str(snapshot)).module.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_what_an_adapter_changes_is_not_fetched_from_elsewhere(hf_folder: Callable[..., Path], refused: Any) -> None:
    folder = hf_folder("ViTForImageClassification")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "../secret"}))
    with refused("holds an adapter", "merge_and_unload"):
        open_huggingface(str(folder))


def test_figures_and_options_beside_the_tensors_are_no_harm(
    in_shards: Callable[[str], tuple[Path, Path, Path]],
) -> None:
    folder, _, shard = in_shards("bin")
    expected = open_huggingface(str(folder)).module.state_dict()
    state = torch.load(shard, weights_only=True)
    (folder / "pytorch_model.bin.index.json").unlink()
    shard.unlink()
    options = argparse.Namespace(lr=0.1, prior=np.arange(3.0))
    torch.save({"state_dict": state, "args": options, "best": np.float64(0.5)}, folder / "pytorch_model.bin")
    found = open_huggingface(str(folder)).module.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("whole", [True, False])
def test_what_a_pickle_asks_for_is_named(
    in_shards: Callable[[str], tuple[Path, Path, Path]], whole: bool, refused: Any
) -> None:
    folder, index, shard = in_shards("bin")
    state = torch.load(shard, weights_only=True)
    torch.save(state | {"share": fractions.Fraction(1, 3)}, shard)
    if whole:
        index.unlink()
        shard = shard.rename(folder / "pytorch_model.bin")
    with refused(str(shard), "its pickle asks for 'fractions.Fraction'", "save the state dict alone"):
        open_huggingface(str(folder))
