"""What is finished is left at once and untouched; what is of another making is refused with the first difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from featurecache import FeatureCache, disk, extract

K = 3  # classes of the network


def plain(data: Any) -> TensorDataset:
    """The same pictures as a data set without names."""
    return TensorDataset(data.inputs, torch.tensor(data.labels))


def times(folder: Path) -> dict[Path, int]:
    """When every file and folder was changed last."""
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


@pytest.fixture
def forwards(model: nn.Sequential) -> list[int]:
    """A list that grows with every forward of the model."""
    counted: list[int] = []
    model.register_forward_hook(lambda *_: counted.append(1))
    return counted


def test_a_finished_extraction_is_left_at_once(
    pictures: Any, model: nn.Sequential, forwards: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path)
    assert forwards
    forwards.clear()
    before, again = times(tmp_path), {"train": pictures(7), "val": pictures(3)}
    for operation in ("create", "allocate", "truncate", "write_at", "rename", "remove", "sync", "sync_folder"):
        monkeypatch.setattr(disk, operation, lambda *_: pytest.fail("the disk was written to"))
    done = extract(model, again, tmp_path)
    assert (done.layer, done.written, done.kept, done.unfinished) == ("5", {}, ["train", "val"], {})
    assert forwards == []
    assert [data.reads for data in again.values()] == [[], []]
    assert times(tmp_path) == before


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 3}, {"seed": 5}, {"world_size": 4, "rank": 2}, {"layer": "5"}],
    ids=str,
)
def test_a_finished_split_stays_whatever_it_was_made_with(
    options: dict[str, Any], pictures: Any, model: nn.Sequential, forwards: list[int], tmp_path: Path, tree: Any
) -> None:
    extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path, batch_size=2)
    before = tree(tmp_path)
    forwards.clear()
    done = extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path, **{"batch_size": 2, **options})
    assert done.kept == ["train", "val"]
    assert forwards == []
    assert tree(tmp_path) == before


def test_what_the_backbone_has_seen_is_not_changed_in_silence(
    pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any, tree: Any
) -> None:
    extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path)
    before = tree(tmp_path)
    with refused("'train'", "seen by the backbone", "now as not seen", "--seen"):
        extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path, seen=())
    assert tree(tmp_path) == before


def test_rows_that_another_release_loads_with_other_last_bits_are_the_same_data(
    pictures: Any, model: nn.Sequential, tmp_path: Path, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plain(off: float) -> dict[str, Any]:  # a data set that does not say its labels beforehand
        return {"train": TensorDataset(pictures(7).inputs + off, torch.arange(7) % 3)}

    extract(model, plain(0), tmp_path)
    with refused("'train'", "other data"):
        extract(model, plain(1e-6), tmp_path)
    monkeypatch.setattr("featurecache.extraction.surroundings.PACKAGES", ("numpy",))
    assert extract(model, plain(1e-6), tmp_path).kept == ["train"]


def test_other_versions_make_no_difference_to_what_is_finished(
    pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"train": pictures(7), "val": pictures(3, breaks_at=2)}
    with pytest.raises(KeyboardInterrupt):
        extract(model, splits, tmp_path, batch_size=2)
    before = tree(tmp_path)
    monkeypatch.setattr("featurecache.extraction.surroundings.importlib.metadata.version", lambda _: "99")
    assert extract(model, {"train": pictures(7)}, tmp_path, batch_size=2).kept == ["train"]
    with refused("'val'", "begun with numpy", "now 99"):
        extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path, batch_size=2)
    assert tree(tmp_path) == before


def test_what_a_crash_left_beside_a_finished_extraction_is_removed(
    pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any
) -> None:
    extract(model, {"train": pictures(7)}, tmp_path)
    before = tree(tmp_path)
    (tmp_path / "train" / "00000.h5.journal").touch()
    (tmp_path / "train" / "00000.h5.lock").touch()
    extract(model, {"train": pictures(7)}, tmp_path)
    assert tree(tmp_path) == before


def test_a_head_that_was_lost_comes_back(pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any) -> None:
    extract(model, {"train": pictures(7)}, tmp_path)
    before = tree(tmp_path)
    (tmp_path / "head.safetensors").unlink()
    assert extract(model, {"train": pictures(7)}, tmp_path).kept == ["train"]
    assert tree(tmp_path) == before


def test_a_split_can_be_added_later(pictures: Any, model: nn.Sequential, tmp_path: Path, tree: Any) -> None:
    extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path / "at once")
    extract(model, {"train": pictures(7)}, tmp_path / "later")
    done = extract(model, {"train": pictures(7), "val": pictures(3)}, tmp_path / "later")
    assert (done.written, done.kept) == ({"val": 3}, ["train"])
    assert tree(tmp_path / "later") == tree(tmp_path / "at once")


def relabelled(data: Any) -> Any:
    """The same pictures, one with another label."""
    data.labels[3] = (data.labels[3] + 1) % K
    return data


def renamed(data: Any) -> Any:
    """The same pictures, one with another name."""
    data.sample_ids[3] = "other.png"
    return data


Change = Callable[[Any, Any], dict[str, Any]]  # from the classes of pictures and networks to other arguments
OTHERS: dict[str, tuple[Change, list[str]]] = {
    "model": (lambda pictures, network: {"model": network(1)}, ["weights"]),
    "dtype": (lambda pictures, network: {"dtype": "float32"}, ["features dtype", "float16", "float32"]),
    "logits": (lambda pictures, network: {"logits": False}, ["logits", "float32", "none"]),
    "transform": (lambda pictures, network: {"transform": "crop"}, ["transform", "crop"]),
    "name": (lambda pictures, network: {"model_name": "other"}, ["model", "other"]),
    "class names": (lambda pictures, network: {"class_names": ["x", "y", "z"]}, ["class names", "x"]),
    "rows": (lambda pictures, network: {"splits": {"train": pictures(8)}}, ["'train'", "rows", "7", "8"]),
    "labels": (lambda pictures, network: {"splits": {"train": relabelled(pictures(7))}}, ["'train'", "data"]),
    "ids": (lambda pictures, network: {"splits": {"train": renamed(pictures(7))}}, ["'train'", "data"]),
    "a plain data set": (lambda pictures, network: {"splits": {"train": plain(pictures(7))}}, []),
}
SURROUNDINGS: dict[str, tuple[Change, list[str]]] = {
    "batch size": (lambda pictures, network: {"batch_size": 3}, ["'train'", "--batch-size 2", "now 3"]),
    "seed": (lambda pictures, network: {"seed": 5}, ["'train'", "seed 0", "now 5"]),
}


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(("change", "parts"), OTHERS.values(), ids=OTHERS.keys())
def test_another_extraction_is_refused(
    pictures: Any,
    change: Change,
    parts: list[str],
    finished: bool,
    network: Any,
    model: nn.Sequential,
    tmp_path: Path,
    refused: Any,
    tree: Any,
) -> None:
    same: dict[str, Any] = {"model": model, "splits": {"train": pictures(7)}, "path": tmp_path, "batch_size": 2}
    if finished:
        extract(**same)
    else:
        with pytest.raises(KeyboardInterrupt):
            extract(**{**same, "splits": {"train": pictures(7, breaks_at=5)}})
    before = tree(tmp_path)
    with refused(str(tmp_path), *parts):
        extract(**{**same, **change(pictures, network)})
    assert tree(tmp_path) == before


@pytest.mark.parametrize(("change", "parts"), SURROUNDINGS.values(), ids=SURROUNDINGS.keys())
def test_an_unfinished_split_is_gone_on_with_as_it_was_begun(
    pictures: Any,
    change: Change,
    parts: list[str],
    network: Any,
    model: nn.Sequential,
    tmp_path: Path,
    refused: Any,
    tree: Any,
) -> None:
    same: dict[str, Any] = {"model": model, "splits": {"train": pictures(7)}, "path": tmp_path, "batch_size": 2}
    with pytest.raises(KeyboardInterrupt):
        extract(**{**same, "splits": {"train": pictures(7, breaks_at=5)}})
    before = tree(tmp_path)
    with refused(*parts, "begin it again"):
        extract(**{**same, **change(pictures, network)})
    assert tree(tmp_path) == before
    extract(**same)
    assert extract(**{**same, **change(pictures, network)}).kept == ["train"]


def test_an_extraction_without_a_row_is_begun_anew(
    pictures: Any, network: Any, tmp_path: Path, tree: Any, failing: Any
) -> None:
    with pytest.raises(OSError, match="No space left"), failing("allocate", at=1):
        extract(network(1), {"train": pictures(7)}, tmp_path / "c", batch_size=3, dtype="float32")
    assert sorted(tree(tmp_path / "c")) == ["cache.json", "head.safetensors"]
    extract(network(0), {"train": pictures(7)}, tmp_path / "c", batch_size=2)
    extract(network(0), {"train": pictures(7)}, tmp_path / "d", batch_size=2)
    assert FeatureCache(tmp_path / "c", verify=True)["train"].features.dtype == "float16"
    assert tree(tmp_path / "c") == tree(tmp_path / "d")
