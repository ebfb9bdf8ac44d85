"""The options of an extraction: what is no number, no split and no transform is wrong usage or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from featurecache import FeatureCache

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

BACKBONE = """
import torch
from torch import nn
def backbone():
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5), nn.ReLU())
def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 4))
def data():
    rows = [(torch.full((3, 4, 4), float(i)), i % 4) for i in range(9)]
    return rows
def bright(own):
    return lambda image: own(image) * 2
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A user's file of functions."""
    path = tmp_path / "mine.py"
    path.write_text(BACKBONE)
    return path


def words(project: Any, cache: Path, *more: object) -> tuple[object, ...]:
    """A command over the project's training images."""
    return ("extract", cache, "--model", f"run:{project.model}", "--split", f"train={project.photos / 'train'}", *more)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", ""])
def test_a_batch_size_is_a_number_or_auto(value: str, project: Any, tmp_path: Path, misused: Refused) -> None:
    misused(*words(project, tmp_path / "c", "--batch-size", value), holds=("--batch-size", "a number from 1, or auto"))


def test_batches_of_any_size(project: Any, tmp_path: Path, answer: Answer) -> None:
    made = answer(*words(project, tmp_path / "c", "--batch-size", "auto"))
    assert made["batch_size"] == FeatureCache(tmp_path / "c").plan.splits["train"].batch_size
    assert answer(*words(project, tmp_path / "d", "--batch-size", "5"))["batch_size"] == 5


def test_views_are_of_train_and_are_crops(project: Any, tmp_path: Path, answer: Answer, refused: Refused) -> None:
    val = ("--split", f"val={project.photos / 'val'}")
    made = answer(*words(project, tmp_path / "c", *val, "--views", "2", "--no-flip"))
    assert made["written"] == {"train": 106, "val": 16}
    cache = FeatureCache(tmp_path / "c", verify=True)
    assert [split.views for split in cache.values()] == [2, 1]
    one, two = np.split(np.asarray(cache["train"].logits), 2)
    assert (one != two).any(axis=1).all()
    drawn = str((cache.plan.splits["train"].made_with or {})["augmentation"])
    assert "crop" in drawn
    assert "mirrored" not in drawn
    assert cache.counts.tolist() == [30, 14, 6, 3]
    refused(
        "extract", tmp_path / "d", "--model", f"run:{project.model}", *val, "--views", "2",
        holds=("--views 2", "a split called train"),
    )  # fmt: skip


def test_heads_are_fitted_on_all_views_and_count_images(
    project: Any, tmp_path: Path, done: Run, refused: Refused
) -> None:
    done(*words(project, tmp_path / "c", "--views", "3", "--seen", "none"))
    for method in ("crt", "class_balanced", "ncm", "ldam"):
        done("fit", method, tmp_path / "c", "--out", tmp_path / f"{method}.safetensors")
    refused(
        "tune", "crt", tmp_path / "c", "--folds", "3", "--out", tmp_path / "x.safetensors",
        holds=("--folds 3", "3 views of every image", "--on"),
    )  # fmt: skip


def test_a_backbone_is_cached_without_a_head(code: Path, project: Any, tmp_path: Path, done: Run) -> None:
    split = ("--split", f"train={project.photos / 'train'}", "--split", f"test={project.photos / 'test'}")
    out = done("extract", tmp_path / "c", "--model", f"file:{code}:backbone", "--no-head", *split).stdout
    assert "no head, output of the model" in out
    assert "joint head" not in out
    cache = FeatureCache(tmp_path / "c")
    assert not cache.has_head
    assert cache["train"].features.shape == (53, 5)
    done("fit", "crt", tmp_path / "c", "--out", tmp_path / "crt.safetensors")
    judged = done("evaluate", tmp_path / "c", tmp_path / "crt.safetensors").stdout
    assert "crt" in judged
    done("extract", tmp_path / "d", "--model", f"file:{code}:classifier", "--no-head", "--layer", "3", *split)
    assert FeatureCache(tmp_path / "d")["train"].features.shape == (53, 5)


def test_without_its_head_a_model_gives_what_the_head_is_given(project: Any, tmp_path: Path, run: Run) -> None:
    said = run(*words(project, tmp_path / "c", "--no-head"))
    assert said.exit_code == 0, said.output
    assert "what the classifier 'classifier' is given" in said.stderr
    bare, whole = FeatureCache(tmp_path / "c"), FeatureCache(project.cache)
    assert not bare.has_head
    assert bare["train"].features.shape[1] == whole["train"].features.shape[1]
    place = {name: row for row, name in enumerate(bare["train"].sample_id.tolist())}
    row = whole["train"].sample_id.tolist()[0]
    np.testing.assert_allclose(bare["train"].features[place[row]], whole["train"].features[0], rtol=2e-3)


def test_a_backbone_without_saying_so_is_refused_with_the_way_out(
    code: Path, project: Any, tmp_path: Path, refused: Refused
) -> None:
    refused(
        "extract", tmp_path / "c", "--model", f"file:{code}:backbone", "--split", f"train={project.photos / 'train'}",
        holds=("no layer", "--no-head"),
    )  # fmt: skip


def test_data_from_a_users_function(code: Path, tmp_path: Path, done: Run) -> None:
    split = ("--split", f"train=file:{code}:data")
    done("extract", tmp_path / "c", "--model", f"file:{code}:classifier", *split)
    cache = FeatureCache(tmp_path / "c", verify=True)
    assert cache["train"].labels.tolist() == [i % 4 for i in range(9)]
    assert cache.class_names is None
    assert cache.num_classes == 4
    assert cache.plan.specification["transform"] is None  # the function was not given the model's


def test_how_images_are_read_may_be_said(code: Path, project: Any, tmp_path: Path, done: Run, refused: Refused) -> None:
    done(*words(project, tmp_path / "c", "--transform", "mean=0.5", "--transform", "crop=1"))
    said = FeatureCache(tmp_path / "c").plan.specification["transform"]
    assert "0.5" in said
    assert said != FeatureCache(project.cache).plan.specification["transform"]
    done(*words(project, tmp_path / "d", "--transform", f"file:{code}:bright"))
    assert "bright" in FeatureCache(tmp_path / "d").plan.specification["transform"]
    refused(*words(project, tmp_path / "e", "--transform", "colour=red"), holds=("colour",))


def test_amp_and_the_rest_are_recorded(project: Any, tmp_path: Path, done: Run, misused: Refused) -> None:
    done(*words(project, tmp_path / "c", "--amp", "bf16", "--channels-last"))
    plan = FeatureCache(tmp_path / "c").plan
    assert plan.specification["precision"] == "bf16"
    assert (plan.splits["train"].made_with or {})["channels_last"] is True
    misused(*words(project, tmp_path / "d", "--amp", "fp8"), holds=("--amp", "'off', 'bf16', 'fp16'"))


def test_averaged_weights_of_a_file_without_them_are_refused(project: Any, tmp_path: Path, refused: Refused) -> None:
    refused(*words(project, tmp_path / "c", "--ema"), holds=("joint.pt",))


@pytest.mark.parametrize("value", ["train", "=x", "train="])
def test_a_split_is_a_name_and_data(value: str, tmp_path: Path, misused: Refused) -> None:
    misused("extract", tmp_path / "c", "--model", "run:x", "--split", value, holds=("NAME=DATA",))


def test_bad_images_stop_or_are_passed_over_and_named(
    project: Any, tmp_path: Path, run: Run, answer: Answer, refused: Refused
) -> None:
    photos = tmp_path / "photos"
    for name in ("cat", "dog", "eel", "fox"):
        for number in range(3):
            (photos / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (number * 40, 90, 10)).save(photos / name / f"{number}.png")
    (photos / "dog" / "1.png").write_bytes(b"")
    (photos / "fox" / "2.png").write_text("<html>not found</html>")
    command = ("extract", tmp_path / "c", "--model", f"run:{project.model}", "--split", f"test={photos}")
    refused(*command, holds=("dog/1.png", "0 bytes", "--on-bad-image skip"))
    said = run(*command, "--on-bad-image", "skip").stdout
    assert "test: 2 images could not be read; their rows have status 1 and no label:" in said
    assert "fox/2.png" in said
    split = FeatureCache(tmp_path / "c", verify=True)["test"]
    assert split.status.sum() == 2
    assert split.labels[split.status == 1].tolist() == [-1, -1]
    again = answer(*command, "--on-bad-image", "skip")
    assert again["bad_images"] == {
        "test": [{"sample": "dog/1.png", "reason": None}, {"sample": "fox/2.png", "reason": None}]
    }
