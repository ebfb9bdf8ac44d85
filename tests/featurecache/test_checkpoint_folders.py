"""Checkpoints with a new classifier: whole or not at all, and folders never over what is there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from featurecache import disk
from featurecache.checkpoint import Replaced, load_state, read_classifier, replace_in_checkpoint

WEIGHT, BIAS = torch.arange(24.0).reshape(3, 8), torch.tensor([1.0, 2.0, 3.0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in two shards; the classifier's weight and bias lie in different ones."""
    shards = {
        "model-1.safetensors": {"body.weight": torch.ones(8, 4), "fc.weight": torch.zeros(3, 8)},
        "model-2.safetensors": {"fc.bias": torch.ones(3), "step": torch.tensor(5)},
    }
    path = tmp_path / "in"
    (path / "sub").mkdir(parents=True)
    for name, state in shards.items():
        save_file(state, path / name)
    found = {tensor: name for name, state in shards.items() for tensor in state}
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": found}))
    (path / "config.json").write_text("{}")
    (path / "sub" / "notes.txt").write_text("kept")
    return path


def replace(into: Path, out: Path, bias: Tensor | None = BIAS) -> Replaced:
    return replace_in_checkpoint(into, out, weight=WEIGHT, bias=bias)


def test_both_shards_of_the_classifier_are_written(folder: Path, tree: Any, tmp_path: Path) -> None:
    done = replace(folder, tmp_path / "out")
    assert done == Replaced("fc", None, ("model-1.safetensors", "model-2.safetensors"), ())
    state = load_state(tmp_path / "out")
    assert torch.equal(state["fc.weight"], WEIGHT)
    assert torch.equal(state["fc.bias"], BIAS)
    assert torch.equal(state["body.weight"], torch.ones(8, 4))
    assert tree(tmp_path / "out").keys() == tree(folder).keys()
    weight, bias = read_classifier(tmp_path / "out", layer="fc")
    assert torch.equal(weight, WEIGHT)
    assert bias is not None
    assert torch.equal(bias, BIAS)
    assert os.listdir(tmp_path / "out" / "sub") == ["notes.txt"]


OPERATIONS = ("create", "write_at", "sync", "rename", "sync_folder")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.usefixtures("handles")
def test_a_full_disk_at_any_step_leaves_nothing(
    operation: str, folder: Path, tree: Any, tmp_path: Path, failing: Any
) -> None:
    before = tree(folder)
    with failing(operation, at=10**6) as calls:
        replace(folder, tmp_path / "whole")
    steps = calls[0]
    assert steps >= 1
    for at in range(1, steps + 1):
        out = tmp_path / f"out{at}"
        with failing(operation, at=at), pytest.raises(OSError, match="No space left"):
            replace(folder, out)
        # The last flush makes the new name last: the folder is there, and whole.
        assert out.exists() == (operation == "sync_folder" and at == steps)
        assert not disk.part_name(out).exists()
    assert tree(folder) == before


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.usefixtures("handles")
def test_a_full_disk_leaves_the_old_file(operation: str, tmp_path: Path, tree: Any, failing: Any) -> None:
    into, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file({"fc.weight": torch.zeros(3, 8), "fc.bias": torch.ones(3)}, into)
    out.write_bytes(b"old")
    before = tree(tmp_path)
    with failing(operation, at=1) as calls, pytest.raises(OSError, match="No space left"):
        replace(into, out)
    assert calls == [1]
    # The last flush makes the new name last: it is there already.
    after = tree(tmp_path)
    assert after["in.safetensors"] == before["in.safetensors"]
    assert after.keys() == before.keys()
    assert (after == before) == (operation != "sync_folder")


def test_names_that_cannot_be_the_new_folder(folder: Path, tree: Any, tmp_path: Path, refused: Any) -> None:
    before = tree(folder)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "link").symlink_to(folder)
    for out, says in (
        (folder, "would replace the checkpoint itself"),
        (tmp_path / "link", "would replace the checkpoint itself"),
        (folder / ".." / "in", "would replace the checkpoint itself"),
        (tmp_path / "empty", "is there already"),
        (tmp_path / "file", "is there already"),
        (tmp_path / "dangling", "is there already"),
        (tmp_path / "x.safetensors", "is a file's name"),
        (tmp_path / "no" / "out", "cannot be written"),
        (folder / "out", "which is copied"),
        (folder / "sub" / "out", "which is copied"),
        (tmp_path / "link" / "out", "which is copied"),
    ):
        with refused(out.name, says):
            replace(folder, out)
    assert tree(folder) == before
    assert sorted(os.listdir(tmp_path)) == ["dangling", "empty", "file", "in", "link"]


def test_a_link_to_the_folder_is_the_folder(folder: Path, tree: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    replace(tmp_path / "link", tmp_path / "out")
    assert tree(tmp_path / "out").keys() == tree(folder).keys()


def test_a_refused_head_leaves_nothing(folder: Path, tmp_path: Path, refused: Any) -> None:
    (folder / "model-2.safetensors").unlink()
    with refused("'model-2.safetensors'"):
        replace(folder, tmp_path / "out")
    save_file({"fc.bias": torch.ones(4), "step": torch.tensor(5)}, folder / "model-2.safetensors")
    with refused(str(folder), "'fc.bias' is (4,)"):
        replace(folder, tmp_path / "out")
    with refused(str(folder), "has no layer 'head'"):
        read_classifier(folder, layer="head")
    assert os.listdir(tmp_path) == ["in"]


def test_a_snapshot_of_the_hubs_cache_becomes_a_folder_of_files(folder: Path, tree: Any, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(path for path in folder.iterdir() if path.is_file()):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    before = tree(blobs)
    replace(snapshot, tmp_path / "out")
    assert tree(blobs) == before
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    assert torch.equal(read_classifier(tmp_path / "out", layer="fc")[0], WEIGHT)
