"""One function opens every model source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from featurecache.datasets.transforms import ImageTransform
from featurecache.models import SOURCES, new_model, open_model, save_run

CODE = """
from featurecache.models.convnet import ConvNet

def make(num_classes=2):
    return ConvNet(num_classes, image_size=8)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(CODE)
    arch, transform = f"file:{tmp_path / 'net.py'}:make", ImageTransform(8, crop=1.0)
    description = {"arch": arch, "channels": 3, "image_size": 8, "class_names": ["x", "y"], "trained_on": "d"}
    module = new_model(arch, num_classes=2, image_size=8)
    save_run(tmp_path / "run.pt", module, {**description, "transform": transform.to_dict()})
    return tmp_path / "run.pt"


def test_a_run_as_checkpoint_brings_its_transform_and_classes(run: Path, refused: Any) -> None:
    source = f"file:{run.parent / 'net.py'}:make"
    model = open_model(source, checkpoint=run)
    assert model.class_names == ("x", "y")
    assert model.trained_on == "d"
    assert model.transform == ImageTransform(8, crop=1.0)
    assert model.source == source
    open_model(source, checkpoint=run, image_size=8)
    with refused("is of a run that reads 8 pixels, not 16"):
        open_model(source, checkpoint=run, image_size=16)


def test_plain_weights_bring_nothing_else(run: Path) -> None:
    torch.save(dict(torch.load(run, weights_only=True)), run.parent / "plain.pt")
    model = open_model(f"file:{run.parent / 'net.py'}:make", checkpoint=run.parent / "plain.pt", image_size=8)
    assert model.class_names is None
    assert model.trained_on is None


@pytest.mark.parametrize("source", ["resnet18", "hub:x", "timm:", ":x", ""])
def test_an_unknown_source_is_refused_with_those_that_are(source: str, refused: Any) -> None:
    with refused(repr(source), *(f"{kind}:" for kind in SOURCES)):
        open_model(source)


def test_a_bare_file_is_told_how_to_be_written(run: Path, refused: Any) -> None:
    with refused(f"run:{run}"):
        open_model(str(run))
