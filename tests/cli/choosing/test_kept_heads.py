"""The folder of heads: what is taken from it, what is made again, and whose files are left alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from rebalance import LinearHead, load_head
from rebalance_cli.choosing.kept_heads import STAMP, KeptHeads, content, folder_for, reason

CPU = torch.device("cpu")
ORIGIN = {"method": "crt", "rows": {"train": "ab12"}, "choice": {"grid": [1e-5, 1e-3]}, "seed": 0}


def head() -> LinearHead:
    weight = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    return LinearHead(weight, record={"method": "crt", "hyperparameters": {"weight_decay": 1e-5}})


@pytest.fixture
def kept(tmp_path: Path) -> KeptHeads:
    """An empty folder for a cache of three classes on four features."""
    write(tmp_path / "x.cache", "train", np.eye(3, 4, dtype=np.float32), np.arange(3), head=head())
    return KeptHeads(folder_for(tmp_path / "x.cache", None), FeatureCache(tmp_path / "x.cache"), CPU)


def keep(kept: KeptHeads, **origin: Any) -> Path:
    path, found = kept.find("crt", ORIGIN | origin)
    assert found is None
    kept.keep(head(), path, ORIGIN | origin, ["a note"])
    return path


def test_what_was_kept_is_found(kept: KeptHeads) -> None:
    path = keep(kept)
    again, found = kept.find("crt", ORIGIN)
    assert again == path
    assert isinstance(found, LinearHead)
    assert torch.equal(found.weight, head().weight)
    assert found.record[STAMP]["notes"] == ["a note"]
    assert found.record["hyperparameters"] == {"weight_decay": 1e-5}
    assert [each.name for each in kept.folder.iterdir()] == [path.name]


@pytest.mark.parametrize("other", [{"seed": 1}, {"rows": {"train": "ab13"}}, {"choice": {"grid": [1e-5]}}])
def test_another_origin_is_another_file(other: dict[str, Any], kept: KeptHeads) -> None:
    path = keep(kept)
    free, found = kept.find("crt", ORIGIN | other)
    assert (free == path, found) == (False, None)
    assert free.name.startswith("crt-")


def test_the_order_of_entries_and_tuples_for_lists_change_nothing(kept: KeptHeads) -> None:
    keep(kept)
    turned = dict(reversed(list(ORIGIN.items()))) | {"choice": {"grid": (1e-5, 1e-3)}}
    assert isinstance(kept.find("crt", turned)[1], LinearHead)


class TestDamaged:
    """A file that keep wrote and that is not what it was is to be replaced, and it is said why."""

    @pytest.mark.parametrize("size", [0, 7, 200])
    def test_cut_short(self, size: int, kept: KeptHeads) -> None:
        path = keep(kept)
        path.write_bytes(path.read_bytes()[:size])
        again, found = kept.find("crt", ORIGIN)
        assert again == path
        assert isinstance(found, str)
        assert "not a readable safetensors file" in found

    def test_every_changed_byte_of_the_tensors_is_seen(self, kept: KeptHeads) -> None:
        path = keep(kept)
        whole = path.read_bytes()
        for place in range(len(whole) - 4 * (12 + 3), len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            again, found = kept.find("crt", ORIGIN)
            assert (again, isinstance(found, str)) == (path, True)

    def test_a_changed_record_is_seen(self, kept: KeptHeads) -> None:
        path = keep(kept)
        load_head(path).with_record(tuned_on="nowhere").save(path)
        assert "changed since it was written" in str(kept.find("crt", ORIGIN)[1])

    def test_a_head_of_another_name(self, kept: KeptHeads) -> None:
        path, other = keep(kept), keep(kept, seed=1)
        os.replace(other, path)
        assert "made from something else" in str(kept.find("crt", ORIGIN)[1])

    def test_another_shape_with_the_right_words(self, kept: KeptHeads) -> None:
        path = keep(kept)
        LinearHead(torch.eye(5), record=load_head(path).record).save(path)
        assert "5 classes on 5 features" in str(kept.find("crt", ORIGIN)[1])

    @pytest.mark.parametrize("origin", ["9" * 4000, '{"method": 1}', "null"])
    def test_a_hostile_record_is_one_line(self, origin: str, kept: KeptHeads) -> None:
        from safetensors.torch import save_file

        path = keep(kept)
        stamp = f'{{"origin": {origin}, "digest": "x", "notes": []}}'
        save_file({"weight": torch.eye(3, 4), "bias": torch.zeros(3)}, path, metadata={STAMP: stamp, "type": "linear"})
        again, found = kept.find("crt", ORIGIN)
        assert again == path
        assert isinstance(found, str)
        assert found.isprintable()

    def test_it_is_whole_when_it_was_made_again(self, kept: KeptHeads) -> None:
        path = keep(kept)
        path.write_bytes(b"")
        kept.keep(head(), kept.find("crt", ORIGIN)[0], ORIGIN, [])
        assert isinstance(kept.find("crt", ORIGIN)[1], LinearHead)


class TestOthers:
    """What somebody else put there stays as it is."""

    @pytest.mark.parametrize(
        "put",
        [
            lambda path: head().save(path),
            lambda path: head().with_record(**{STAMP: "mine"}).save(path),
            lambda path: path.mkdir(),
            lambda path: path.symlink_to("nowhere"),
            lambda path: os.mkfifo(path),
        ],
        ids=["a head", "a head with that word", "a folder", "a link to nothing", "a pipe"],
    )
    def test_it_is_not_written_over(self, put: Callable[[Path], None], kept: KeptHeads) -> None:
        path, _ = kept.find("crt", ORIGIN)
        put(path)
        before = path.lstat()
        beside = keep(kept)
        assert beside.name == f"{path.stem}-2.safetensors"
        assert (path.lstat().st_ino, path.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        again, found = kept.find("crt", ORIGIN)
        assert (again, isinstance(found, LinearHead)) == (beside, True)


class TestFolder:
    """Where heads are kept."""

    @pytest.mark.parametrize(
        ("cache", "name"), [("photos.cache", "photos.heads"), ("photos", "photos.heads"), ("a.b.cache", "a.b.heads")]
    )
    def test_beside_the_cache(self, cache: str, name: str, tmp_path: Path) -> None:
        assert folder_for(tmp_path / cache, None) == tmp_path / name
        assert (tmp_path / name).is_dir()
        assert folder_for(tmp_path / cache, None) == tmp_path / name  # it may be there

    def test_of_the_cache_one_is_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "photos.cache").mkdir()
        monkeypatch.chdir(tmp_path / "photos.cache")
        assert folder_for(Path("."), None) == tmp_path / "photos.heads"

    @pytest.mark.parametrize("where", ["nowhere/heads", "file"])
    def test_a_place_that_cannot_be_is_refused(self, where: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="--heads") as error:
            folder_for(tmp_path / "x.cache", tmp_path / where)
        assert str(tmp_path / where) in str(error.value)
        assert "\n" not in str(error.value)


def test_the_content_of_a_split_is_every_number_in_it(tmp_path: Path) -> None:
    rows, labels = np.eye(3, 4, dtype=np.float32), np.arange(3)
    nudged, swapped = rows.copy(), np.array([0, 2, 1])
    nudged[2, 3] = 2.0**-10
    found = []
    for number, (features, classes) in enumerate([(rows, labels), (nudged, labels), (rows, swapped), (rows, labels)]):
        write(tmp_path / f"{number}.cache", "train", features, classes, head=head())
        found.append(content(FeatureCache(tmp_path / f"{number}.cache")["train"]))
    assert len(set(found)) == 3
    assert found[0] == found[3]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad\n  thing"), "bad thing"),
        (ValueError(), "ValueError"),
        (FileNotFoundError(2, "No such file", "x"), "[Errno 2] No such file: 'x'"),
        (np.linalg.LinAlgError("Singular"), "LinAlgError: Singular"),
        (RuntimeError("boom"), "RuntimeError: boom"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_reasons(error: Exception, text: str) -> None:
    assert reason(error) == text
