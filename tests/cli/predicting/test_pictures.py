"""Images through a model: which features a head gets, and whose classes labels are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch

from featurecache import FeatureCache
from featurecache.export import export_program
from featurecache.models import open_model
from rebalance import LinearHead, load_head
from rebalance_cli.options import Common
from rebalance_cli.predicting.options import Reading, Through
from rebalance_cli.predicting.pictures import of_images

Run = Callable[..., Any]
CPU = Common(False, 0, "cpu")
READING = Reading((), None, "stop", 64, 0)


def through(source: str | None, **changes: Any) -> Through:
    """A model, its images of 16 pixels where it leaves that open."""
    values: dict[str, Any] = {"checkpoint": None, "ema": False, "layer": None, "image_size": None, "transform": ()}
    return Through(source, **(values | changes))


def logits(source: str, name: str, model: Through) -> tuple[Any, torch.Tensor]:
    """What is known of the images, and the logits of all of them."""
    with of_images(source, name, model, READING, CPU) as subject:
        return subject, torch.cat([part.logits for part in subject.parts])


@pytest.mark.parametrize("words", [(), ("--layer", "features")], ids=["found", "named"])
def test_a_head_of_a_cache_without_a_classifier(
    words: tuple[str, ...], project: Any, tmp_path: Path, done: Run
) -> None:
    cache, head, model = tmp_path / "x.cache", tmp_path / "h.safetensors", f"run:{project.model}"
    if words:
        names = [name for name, _ in open_model(model).module.named_children()]
        words = ("--layer", names[-2])
    done("extract", cache, "--model", model, "--no-head", *words, "--split", f"train={project.photos / 'train'}")
    done("fit", "crt", cache, "--out", head)
    subject, found = logits(str(project.photos / "train"), str(head), through(model))
    expected = load_head(head)(FeatureCache(cache)["train"].features)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)  # the cached features are float16
    assert float(expected.std()) > 0.5  # or that would say nothing
    assert subject.record["joint"] is None


def test_a_foreign_head_for_a_user_s_own_model(project: Any, models: Path, tmp_path: Path) -> None:
    LinearHead(torch.arange(48.0).reshape(4, 12)).save(tmp_path / "h.safetensors")
    model = through(f"file:{models}:tiles", image_size=16)
    subject, found = logits(str(project.photos / "test"), str(tmp_path / "h.safetensors"), model)
    assert found.shape == (24, 4)
    assert subject.class_names == ("cat", "dog", "eel", "fox")  # as many as the model has: those of the data
    assert (subject.labelled, subject.record) == (True, {})


def test_labels_of_other_columns_are_left_out(project: Any, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with of_images(
        str(project.photos / "test"), "joint", through(f"file:{models}:three", image_size=16), READING, CPU
    ) as subject:
        assert all((part.labels == -1).all() for part in subject.parts)
    assert (subject.labelled, subject.class_names, subject.num_classes) == (False, None, 3)
    assert "labels are left out: the data have 4 classes, the model 3" in capsys.readouterr().err


def test_numbers_are_columns(project: Any, models: Path, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("cat/00.png 0\ndog/00.png 1\n")
    reading = Reading((), project.photos / "test", "stop", 64, 0)
    with of_images(
        str(tmp_path / "two.txt"), "joint", through(f"file:{models}:three", image_size=16), reading, CPU
    ) as subject:
        assert np.concatenate([part.labels for part in subject.parts]).tolist() == [0, 1]
    assert (subject.labelled, subject.class_names) == (True, None)


def test_a_program_of_the_whole_model(project: Any, tmp_path: Path) -> None:
    opened, source = open_model(f"run:{project.model}"), str(project.photos / "test")
    path, read = tmp_path / "full.pt2", {"input": {"transform": opened.transform_text}}
    export_program(opened.module, torch.rand(2, 3, 16, 16), path, about={"record": {"method": "crt"}, **read})
    subject, found = logits(source, str(path), through(f"run:{project.model}"))
    _, expected = logits(source, str(project.model), through(None))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # float32 sums in another order
    assert (subject.record, subject.class_names) == ({"method": "crt"}, opened.class_names)
    with pytest.raises(ValueError, match="expected the same model and --transform as at its export"):
        logits(source, str(path), through(f"run:{project.model}", transform=("mean=0.1,0.2,0.3",)))
    with pytest.raises(click.UsageError, match="is a program, and how images are read is known of the model"):
        logits(source, str(path), through(None))


def test_images_are_read_as_those_that_the_head_was_made_from(
    project: Any, models: Path, tmp_path: Path, done: Run, refused: Run
) -> None:
    cache, head, model = tmp_path / "x.cache", tmp_path / "h.safetensors", f"file:{models}:tiles"
    words = ("--image-size", 16, "--transform", "mean=0.5")
    done("extract", cache, "--model", model, *words, "--split", f"train={project.photos / 'train'}")
    done("fit", "crt", cache, "--out", head)
    asked = ("predict", project.photos / "test", head, "--model", model, "--out", tmp_path / "p.csv")
    refused(*asked, "--image-size", 16, holds=("fitted on images read as", "give the --image-size and --transform"))
    assert "images read as: " in done(*asked, *words).stdout
