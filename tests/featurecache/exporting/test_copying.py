"""Files and folders appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from featurecache.exporting import copying
from featurecache.exporting.copying import copy_file, files_to_copy, new_folder
from featurecache.exporting.model_folder import model_folder


@pytest.mark.usefixtures("handles")
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 20])
def test_a_copy_has_the_same_bytes(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "PIECE", 8)
    (tmp_path / "a").write_bytes(os.urandom(size))
    (tmp_path / "b").write_bytes(b"something longer that was there before")
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


@pytest.mark.usefixtures("handles")
def test_a_full_disk_names_the_file(tmp_path: Path, failing: Any) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with failing("write_at", at=1), pytest.raises(OSError, match=r"No space left on device: .*/b'"):
        copy_file(tmp_path / "a", tmp_path / "b")


def test_a_folder_reaches_the_disk_before_its_name(tmp_path: Path, watched: Any) -> None:
    done = watched("sync", "rename", "sync_folder")
    with new_folder(tmp_path / "out") as part:
        (part / "sub").mkdir()
        (part / "sub" / "file").write_text("x")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "sub" / "file").read_text() == "x"
    assert done == [
        ("sync", "file"),
        ("sync_folder", "sub"),
        ("sync_folder", "out.part"),
        ("rename", "out.part", "out"),
        ("sync_folder", tmp_path.name),
    ]


@pytest.mark.parametrize("operation", ["sync", "rename", "sync_folder", "block"])
def test_nothing_is_left_of_a_folder_that_failed(operation: str, tmp_path: Path, failing: Any) -> None:
    def attempt() -> None:
        with new_folder(tmp_path / "out") as part:
            (part / "file").write_text("x")
            if operation == "block":
                raise KeyboardInterrupt

    if operation == "block":
        with pytest.raises(KeyboardInterrupt):
            attempt()
    else:
        with failing(operation, at=1), pytest.raises(OSError, match="No space left"):
            attempt()
    assert os.listdir(tmp_path) == []


def test_the_temporary_name_of_another_is_left_alone(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "mine").touch()
    with refused("out.part' is there, from an export that was stopped"), new_folder(tmp_path / "out"):
        pass
    assert os.listdir(tmp_path / "out.part") == ["mine"]


def test_other_weights_and_hidden_folders_stay_behind(tmp_path: Path) -> None:
    kept = [
        "README.md",
        "config.json",
        "model.safetensors",
        "sub/deeper/file.py",
        "training_args.bin",
        ".gitattributes",
    ]
    left = ["pytorch_model.bin", "model.fp16.safetensors", "checkpoint-5/model.safetensors", "onnx/model.onnx"]
    for name in [*kept, *left, ".git/config", ".cache/x"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    copied, stayed = files_to_copy(model_folder(tmp_path))
    assert sorted(copied) == sorted(kept)
    assert sorted(stayed) == sorted(left)


def test_links_that_lead_out_and_pipes_are_not_copied(tmp_path: Path, refused: Any) -> None:
    folder, secret = tmp_path / "in", tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("x")
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").touch()
    found = model_folder(folder)
    for name, target, says in (
        ("sub/key", secret / "key", "leads out of its folder"),
        ("all", secret, "is a link to a folder"),
        ("round", folder, "is a link to a folder"),
        ("gone", tmp_path / "gone", "leads nowhere"),
    ):
        (folder / name).symlink_to(target)
        with refused(says, name):
            files_to_copy(found)
        (folder / name).unlink()
    os.mkfifo(folder / "pipe")
    with refused("pipe' is not a regular file"):
        files_to_copy(found)
