"""Which files of a model folder hold its weights, and that nothing outside of it is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from featurecache.exporting.model_folder import INDEX, WEIGHTS, member, model_folder

ORDER = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"]


def index_of(*shards: str) -> str:
    return json.dumps({"weight_map": {f"layer{n}.weight": shard for n, shard in enumerate(shards)}})


def filled(folder: Path, *names: str) -> Path:
    """A folder with these files; an index names one shard."""
    folder.mkdir(exist_ok=True)
    for name in names:
        index = INDEX.search(name)
        (folder / name).write_text(index_of(f"shard{index[1]}") if index else "weights")
        if index:
            (folder / f"shard{index[1]}").write_text("weights")
    return folder


def test_the_first_that_a_loader_takes_is_the_one(tmp_path: Path) -> None:
    for left in range(4):
        names = ORDER[left:]
        folder = model_folder(filled(tmp_path / str(left), *names))
        assert (folder.index or folder.files[0]) == names[0]
        assert folder.holds(names[0])
        assert not any(folder.holds(name) for name in names[1:])


def test_shards_come_once_each_in_the_order_of_the_index(tmp_path: Path) -> None:
    filled(tmp_path, "b.safetensors", "a.safetensors")
    (tmp_path / ORDER[1]).write_text(index_of("b.safetensors", "a.safetensors", "b.safetensors"))
    folder = model_folder(tmp_path)
    assert folder.files == ("b.safetensors", "a.safetensors")
    assert folder.index == ORDER[1]


@pytest.mark.parametrize(
    "name",
    [
        *("model.fp16.safetensors", "model.safetensors.index.fp16.json", "pytorch_model.fp16.bin"),
        "pytorch_model.bin.index.non_ema.json",
    ],
)
def test_one_variant_alone_is_taken(name: str, tmp_path: Path, refused: Any) -> None:
    shards = ("model.fp16-00001-of-00002.safetensors", "model-00001-of-00002.safetensors")
    folder = model_folder(filled(tmp_path, name, *shards))
    assert folder.index == (name if name.endswith("json") else None)
    filled(tmp_path, name.replace("fp16", "bf16").replace("non_ema", "bf16"))
    with refused("holds 2 variants of the weights", "leave the one that is meant"):
        model_folder(tmp_path)


def test_the_config_may_name_the_file(tmp_path: Path, refused: Any) -> None:
    filled(tmp_path, "model.safetensors", "mine.safetensors")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"transformers_weights": "mine.safetensors"}))
    assert model_folder(tmp_path).files == ("mine.safetensors",)
    for wrong in ("../x.safetensors", "/x.safetensors", "config.json", "absent.safetensors", 3, ["mine.safetensors"]):
        config.write_text(json.dumps({"transformers_weights": wrong}))
        with refused("config.json", "as transformers_weights; expected a .safetensors file"):
            model_folder(tmp_path)
    config.write_text("{")
    with refused("config.json", "is not JSON"):
        model_folder(tmp_path)


def test_folders_without_weights_of_their_own_are_refused(tmp_path: Path, refused: Any) -> None:
    filled(tmp_path, "config.txt", "training_args.bin", "model-00001-of-00002.safetensors")
    with refused("holds no weights; expected model.safetensors,"):
        model_folder(tmp_path)
    filled(tmp_path, "model.safetensors", "adapter_config.json")
    with refused("holds an adapter", "merge_and_unload"):
        model_folder(tmp_path)


def test_a_missing_shard_is_said(tmp_path: Path, refused: Any) -> None:
    (tmp_path / ORDER[1]).write_text(index_of("gone.safetensors"))
    with refused("has no file 'gone.safetensors'"):
        model_folder(tmp_path)


@pytest.mark.parametrize("kind", ["out", "absolute", "nowhere", "round", "folder", "pipe", "device", "through a link"])
@pytest.mark.parametrize("where", ["model.safetensors", "model.safetensors.index.json", "config.json", "shard"])
def test_only_regular_files_of_the_folder_are_read(kind: str, where: str, tmp_path: Path, refused: Any) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    secret = tmp_path / "secret.safetensors"
    secret.write_text(index_of("shard.safetensors"))
    filled(folder, "model.safetensors" if where == "config.json" else "model.safetensors.index.json")
    path = folder / {"shard": "shard.safetensors"}.get(where, where)
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "through a link":
        (folder / "up").symlink_to("..")
        path.symlink_to("up/secret.safetensors")
    else:
        targets = {"out": "../secret.safetensors", "absolute": str(secret), "nowhere": "gone", "device": "/dev/zero"}
        path.symlink_to(targets.get(kind, path.name))
    with refused(str(folder)):
        model_folder(folder)


def test_links_within_the_folder_and_to_the_hubs_blobs_are_followed(tmp_path: Path, refused: Any) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    (blobs / "feed").write_text("weights")
    (snapshot / "model.safetensors").symlink_to("../../blobs/feed")
    assert model_folder(snapshot).files == ("model.safetensors",)
    elsewhere = filled(tmp_path / "elsewhere", "real.safetensors")
    (elsewhere / "model.safetensors").symlink_to("real.safetensors")
    assert member(elsewhere, "model.safetensors").read_text() == "weights"
    (elsewhere / "model.safetensors").unlink()
    (elsewhere / "model.safetensors").symlink_to(blobs / "feed")
    with refused("is a link that leads out of its folder"):
        model_folder(elsewhere)
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(elsewhere / "real.safetensors")
    with refused("is a link that leads out of its folder"):
        model_folder(snapshot)


def test_names_of_weights() -> None:
    weights = [
        "tf_model.h5",
        "flax_model.msgpack",
        "model.onnx",
        "rust_model.ot",
        "model.fp16-00001-of-00002.safetensors",
    ]
    weights += [
        "pytorch_model-00001-of-00002.bin",
        "tf_model.h5.index.json",
        "model.safetensors.index.fp16.json",
        *ORDER,
    ]
    others = [
        "config.json",
        "training_args.bin",
        "optimizer.pt",
        "modeling_x.py",
        "README.md",
        "model.json",
        "my_model.bin",
    ]
    assert [name for name in weights + others if WEIGHTS.fullmatch(name)] == weights
