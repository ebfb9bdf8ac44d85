"""Extraction: what a cache holds, what is done already, what is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image

from featurecache import FeatureCache

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


def splits(project: Any, *names: str) -> list[str]:
    """The options for these splits of the project."""
    return [part for name in names for part in ("--split", f"{name}={project.photos / name}")]


def test_what_the_cache_holds(project: Any) -> None:
    cache = FeatureCache(project.cache)
    weight, bias = cache.head
    assert list(cache) == ["train", "val", "test"]
    assert cache.class_names == ("cat", "dog", "eel", "fox")
    for split in cache.values():
        features = torch.from_numpy(np.asarray(split.features, np.float32))
        # Each feature is rounded to float16: a share of 2**-11 of it at most; twice that covers the sums in float32.
        bound = features.abs() @ weight.abs().T * 2**-10 + 1e-5
        assert bool(((features @ weight.T + bias - torch.from_numpy(split.logits)).abs() <= bound).all())
    assert [cache[name].seen for name in cache] == [True, False, False]
    assert cache["test"].sample_id[0] == "cat/00.png"


def test_what_it_says(project: Any, tmp_path: Path, done: Run) -> None:
    words = ("extract", tmp_path / "x.cache", "--model", f"run:{project.model}", *splits(project, "train", "test"))
    first = done(*words, "--shots", "5,10").stdout
    assert "77 rows in " in first
    assert "layer 'classifier'" in first
    assert "many > 10, medium 5..10, few < 5 training rows" in first
    again = done(*words).stdout
    assert again.splitlines()[0].startswith("train: complete already, left as it is (`rebalance verify`")
    assert again.splitlines()[1].startswith("test: complete already, left as it is")
    assert "rows in" not in again


def test_json(project: Any, tmp_path: Path, answer: Answer) -> None:
    cache = tmp_path / "x.cache"
    words = ("extract", cache, "--model", f"run:{project.model}", "--shots", "10,20")
    first = answer(*words, *splits(project, "train", "test"))
    assert first["cache"] == str(cache)
    assert (first["layer"], first["written"], first["complete_already"]) == (
        "classifier",
        {"train": 53, "test": 24},
        [],
    )
    assert set(first["accuracy"]) == {"train", "test"}
    assert {"top1", "balanced", "many", "medium", "few"} <= set(first["accuracy"]["test"])
    again = answer(*words, *splits(project, "train", "test", "val"))
    assert (again["written"], again["complete_already"]) == ({"val": 16}, ["train", "test"])


def test_no_logits_and_other_widths_of_floats(project: Any, tmp_path: Path, done: Run) -> None:
    words = ("--dtype", "float32", "--logits", "none", *splits(project, "test"))
    done("extract", tmp_path / "x.cache", "--model", f"run:{project.model}", *words)
    split = FeatureCache(tmp_path / "x.cache")["test"]
    assert not split.stores_logits
    assert split.features.dtype == np.float32


@pytest.mark.parametrize(
    ("asked", "seen"),
    [([], ["train"]), (["--seen", "none"], []), (["--seen", "val", "--seen", "test"], ["val", "test"])],
)
def test_which_splits_the_backbone_saw(
    asked: list[str], seen: list[str], project: Any, models: Path, tmp_path: Path, done: Run
) -> None:
    words = ("--model", f"file:{models}:tiles", "--image-size", 16, *splits(project, "train", "val", "test"))
    done("extract", tmp_path / "x.cache", *words, *asked)
    cache = FeatureCache(tmp_path / "x.cache")
    assert [name for name in cache if cache[name].seen] == seen


def test_rows_a_run_was_trained_on_are_known_under_any_name(project: Any, tmp_path: Path, done: Run) -> None:
    listed = project.model.with_name("joint.train.txt")
    done(
        "extract", tmp_path / "x.cache", "--model", f"run:{project.model}", "--root", project.photos / "train",
        "--split", f"val={listed}", "--split", f"test={listed.with_name('joint.val.txt')}",
    )  # fmt: skip
    cache = FeatureCache(tmp_path / "x.cache")
    assert (cache["val"].seen, cache["test"].seen) == (True, False)


def test_a_list_and_a_folder_give_the_same_rows(project: Any, tmp_path: Path, done: Run) -> None:
    rows = [f"{path.parent.name}/{path.name}" for path in sorted((project.photos / "test").rglob("*.png"))]
    listed = tmp_path / "test.csv"
    listed.write_text("path,label\n" + "".join(f"{row},{row[:3]}\n" for row in rows), "utf-8")
    words = ("--model", f"run:{project.model}", "--root", project.photos / "test")
    done("extract", tmp_path / "x.cache", *words, "--split", f"test={listed}")
    made = FeatureCache(tmp_path / "x.cache")["test"]
    there = FeatureCache(project.cache)["test"]
    np.testing.assert_array_equal(made.features, there.features)
    np.testing.assert_array_equal(made.labels, there.labels)


def test_no_folder_of_this_machine_is_in_the_cache(project: Any) -> None:
    for file in project.cache.rglob("*"):
        assert file.is_dir() or str(project.photos.parent).encode() not in file.read_bytes()


def test_a_checkpoint_for_the_users_own_code(project: Any, models: Path, tmp_path: Path, done: Run) -> None:
    state = {"fc.weight": torch.ones(4, 12), "fc.bias": torch.zeros(4)}
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "mine.pth")
    words = ("--model", f"file:{models}:tiles", "--image-size", 16, *splits(project, "test"))
    done("extract", tmp_path / "x.cache", *words, "--checkpoint", tmp_path / "mine.pth")
    assert torch.equal(FeatureCache(tmp_path / "x.cache").head[0], torch.ones(4, 12))


class TestRefused:
    """Models, checkpoints, data and caches that do not fit."""

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("no_classifier", ("no layer provably",)),
            ("three", ("the model has 3 outputs, the data 4 classes",)),
            ("fails", ("RuntimeError: first line second line",)),
            ("a_list", ("returned list", "expected an nn.Module")),
            ("nosuch", ("no function 'nosuch'",)),
        ],
    )
    def test_a_model(
        self, source: str, says: tuple[str, ...], project: Any, models: Path, tmp_path: Path, refused: Refused
    ) -> None:
        words = ("--model", f"file:{models}:{source}", "--image-size", 16, *splits(project, "train"))
        refused("extract", tmp_path / "x.cache", *words, holds=says)
        assert not (tmp_path / "x.cache").exists()

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("nonsense", ("'nonsense'", "run:FILE")),
            ("foo:bar", ("'foo:bar'", "run:FILE")),
            ("run:", ("'run:'", "run:FILE")),
            ("run:nowhere.pt", ("'nowhere.pt' does not exist",)),
            ("file:nowhere.py:f", ("'nowhere.py' does not exist",)),
            ("file:nowhere.py", ("expected file:path.py:function",)),
            pytest.param("timm:nosuch", ("'nosuch'",), marks=needs_timm),
        ],
    )
    def test_a_source(self, source: str, says: tuple[str, ...], project: Any, tmp_path: Path, refused: Refused) -> None:
        refused("extract", tmp_path / "x.cache", "--model", source, *splits(project, "train"), holds=says)

    def test_a_run_file_without_its_prefix(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("--model", project.model, *splits(project, "train"))
        refused("extract", tmp_path / "x.cache", *words, holds=(f"run:{project.model}",))

    @pytest.mark.parametrize("other", ["image size", "channels", "random", "no checkpoint"])
    def test_a_checkpoint_of_another_architecture(
        self, other: str, project: Any, tmp_path: Path, done: Run, refused: Refused
    ) -> None:
        path = tmp_path / "other.pt"
        if other == "random":
            torch.save({"fc.weight": torch.zeros(4, 64)}, path)
        elif other == "no checkpoint":
            path.write_text("print('hello')")
        else:
            size = 32 if other == "image size" else 16
            grey = ["--grey"] if other == "channels" else []
            data = project.photos / "train"
            done("train", data, "--out", path, "--image-size", size, *grey, "--epochs", 1, "--holdout", 0)
        says = "no PyTorch file" if other == "no checkpoint" else "of another architecture"
        words = ("--model", f"run:{project.model}", "--checkpoint", path, *splits(project, "train"))
        refused("extract", tmp_path / "x.cache", *words, holds=("other.pt'", says))

    def test_a_cache_of_another_model(self, project: Any, models: Path, tmp_path: Path, refused: Refused) -> None:
        shutil.copytree(project.cache, tmp_path / "x.cache")
        before = (tmp_path / "x.cache" / "cache.json").read_bytes()
        words = ("--model", f"file:{models}:tiles", "--image-size", 16, *splits(project, "train"))
        refused("extract", tmp_path / "x.cache", *words, holds=("x.cache", "another extraction"))
        assert (tmp_path / "x.cache" / "cache.json").read_bytes() == before

    def test_a_split_made_from_other_data(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        shutil.copytree(project.cache, tmp_path / "x.cache")
        words = ("--model", f"run:{project.model}", "--split", f"val={project.photos / 'test'}")
        refused("extract", tmp_path / "x.cache", *words, holds=("'val'", "other data"))

    def test_something_that_is_no_cache(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        (tmp_path / "file").write_text("mine")
        words = ("--model", f"run:{project.model}", *splits(project, "test"))
        refused("extract", tmp_path / "file", *words, holds=(tmp_path / "file",))
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_class_of_val_that_train_does_not_have(
        self, project: Any, models: Path, tmp_path: Path, refused: Refused
    ) -> None:
        shutil.copytree(project.photos / "train", tmp_path / "train")
        shutil.rmtree(tmp_path / "train" / "eel")
        data = ("--split", f"train={tmp_path / 'train'}", *splits(project, "val"))
        says = ("class 2 ('eel')", "none in train")
        refused("extract", tmp_path / "x.cache", "--model", f"run:{project.model}", *data, holds=says)
        words = ("--model", f"file:{models}:three", "--image-size", 16)
        refused("extract", tmp_path / "x.cache", *words, *data, holds=("'eel'", "3 known classes"))

    def test_a_model_that_gives_nan_for_an_image(
        self, project: Any, models: Path, tmp_path: Path, refused: Refused
    ) -> None:
        shutil.copytree(project.photos / "train", tmp_path / "photos")
        Image.new("RGB", (16, 16)).save(tmp_path / "photos" / "eel" / "03.png")
        words = ("--model", f"file:{models}:broken", "--image-size", 16, "--split", f"train={tmp_path / 'photos'}")
        for size in (8, 64):  # in a later batch, and in the one that proves the classifier
            cache = tmp_path / f"{size}.cache"
            refused("extract", cache, *words, "--batch-size", size, holds=("'eel/03.png'", "finite"))
            assert list(cache.rglob("*.h5")) == []

    @pytest.mark.parametrize("name", ["tr/ain", "..", "a b", "cache.json"])
    def test_a_split_of_a_bad_name(self, name: str, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("--model", f"run:{project.model}", "--split", f"{name}={project.photos / 'train'}")
        refused("extract", tmp_path / "x.cache", *words, holds=(name,))

    def test_what_the_run_file_knows_better(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("extract", tmp_path / "x.cache", "--model", f"run:{project.model}", *splits(project, "train"))
        refused(*words, "--image-size", 32, holds=("16 pixels", "--image-size"))
        refused(*words, "--layer", "nosuch", holds=("'nosuch'", "'classifier'"))
        refused(*words, "--seen", "nosuch", holds=("--seen nosuch", "train"))

    def test_a_run_that_is_code(self, project: Any, models: Path, tmp_path: Path, done: Run, refused: Refused) -> None:
        path = tmp_path / "own.pt"
        arch = f"file:{models}:tiles"
        done("train", project.photos / "train", "--out", path, "--image-size", 16, "--epochs", 1, "--arch", arch)
        words = (tmp_path / "x.cache", *splits(project, "test"))
        refused("extract", *words, "--model", f"run:{path}", holds=("if you trust it", arch))
        done("extract", *words, "--model", arch, "--checkpoint", path)


@pytest.mark.parametrize(
    ("value", "says"),
    [("train", "NAME=DATA"), ("=x", "NAME=DATA"), ("train=", "NAME=DATA"), ("test=x", "test is given twice")],
)
def test_splits_that_cannot_be_read_are_wrong_usage(value: str, says: str, misused: Refused) -> None:
    misused("extract", "x.cache", "--model", "run:x.pt", "--split", "test=photos", "--split", value, holds=(says,))


def test_an_image_that_is_mended_or_taken_out_lets_the_extraction_go_on(
    project: Any, tmp_path: Path, answer: Answer, refused: Refused
) -> None:
    shutil.copytree(project.photos / "test", tmp_path / "test")
    bad = tmp_path / "test" / "fox" / "99.png"
    bad.write_bytes(b"<html>not found</html>")
    words = ("extract", tmp_path / "x.cache", "--model", f"run:{project.model}", *splits(project, "train"))
    words += ("--split", f"test={tmp_path / 'test'}")
    refused(*words, holds=("test/fox/99.png'", "HTML"))
    bad.unlink()
    # No row of test was kept, so nothing ties the split to the image that could not be read.
    again = answer(*words)
    assert (again["complete_already"], again["written"]) == (["train"], {"test": 24})


def test_a_lost_file_is_made_again(project: Any, tmp_path: Path, answer: Answer) -> None:
    cache = tmp_path / "x.cache"
    shutil.copytree(project.cache, cache)
    (cache / "test" / "00000.h5").unlink()
    again = answer("extract", cache, "--model", f"run:{project.model}", *splits(project, "test"))
    assert again["written"] == {"test": 24}
    assert (cache / "test" / "00000.h5").read_bytes() == (project.cache / "test" / "00000.h5").read_bytes()


def test_labels_are_the_models_columns_by_name(project: Any, tmp_path: Path, answer: Answer) -> None:
    shutil.copytree(project.photos / "test", tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "cat")
    answer("extract", tmp_path / "x.cache", "--model", f"run:{project.model}", "--split", f"test={tmp_path / 'part'}")
    labels = FeatureCache(tmp_path / "x.cache")["test"].labels
    assert sorted(set(labels.tolist())) == [1, 2, 3]  # the columns of dog, eel and fox, not 0, 1 and 2


def test_progress_stays_off_stdout(project: Any, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from rebalance_cli import output

    monkeypatch.setattr(output, "LINE_EVERY", 0.0)
    words = ("extract", tmp_path / "x.cache", "--model", f"run:{project.model}", *splits(project, "test"), "--json")
    result = run(*words, "--batch-size", 8)
    assert result.stderr == "extract test 8/24\nextract test 16/24\nextract test 24/24\n"
    assert json.loads(result.stdout)["written"] == {"test": 24}
