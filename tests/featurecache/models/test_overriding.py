"""Preprocessing overridden by its user: said in the text, checked against the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from featurecache.datasets.transforms import ImageTransform
from featurecache.models.huggingface.transform import MissingTransform
from featurecache.models.model import Model
from featurecache.models.overriding import overridden, text_of

PLAIN = ImageTransform(16)


def model(transform: Any = PLAIN, *, size: int = 0) -> Model:
    """A model of any size, or of one."""
    end = nn.Linear(3 * size * size, 2) if size else nn.Identity()
    module = nn.Sequential(nn.Flatten(), end).eval()
    text = transform.describe() if hasattr(transform, "describe") else "?"
    return Model(module, transform, text, ("a", "b"), "test:model")


def test_nothing_asked_changes_nothing() -> None:
    given = model()
    assert overridden(given, ()) is given


def test_every_key_arrives_and_the_text_says_it() -> None:
    texts = ("size=24", "crop=1", "interpolation=nearest", "mean=0.5", "std=0.1,0.2,0.3")
    changed = overridden(model(), texts)
    expected = ImageTransform(24, 3, (0.5,), (0.1, 0.2, 0.3), 1.0, "nearest")
    assert changed.transform == expected
    assert changed.transform_text == expected.describe()
    assert changed.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("texts", "parts"),
    [
        (["size"], ["--transform 'size'", "expected KEY=VALUE with the key size, crop, interpolation, mean, std"]),
        (["width=3"], ["--transform 'width=3'", "expected KEY=VALUE"]),
        (["size=big"], ["expected size=PIXELS"]),
        (["size=1e3"], ["expected size=PIXELS"]),
        (["crop=all"], ["expected crop=PART"]),
        (["interpolation=best"], ["expected interpolation=bilinear or bicubic or nearest"]),
        (["mean=1,,2"], ["expected mean=one number, or one a channel"]),
        (["std="], ["expected std=one number"]),
        (["size=4", "size=5"], ["--transform size is given twice"]),
        (["size=0"], ["transform: size is 0"]),
        (["mean=1,2"], ["transform: mean is (1.0, 2.0), expected 1 or 3 finite numbers"]),
        (["std=0"], ["transform: std is"]),
        (["crop=nan"], ["transform: crop is"]),
        (["x.py:a", "file:y.py:b"], ["stands alone"]),
    ],
)
def test_what_cannot_be_read_is_refused(texts: list[str], parts: list[str], refused: Any) -> None:
    with refused(*parts):
        overridden(model(), texts)


def test_a_size_the_model_cannot_read_is_refused(refused: Any) -> None:
    fixed = model(size=16)
    assert overridden(fixed, ["crop=1"]).transform == PLAIN.changed(crop=1)
    with refused("model 'test:model' does not run on images of 3 x 24 x 24", "--image-size"):
        overridden(fixed, ["size=24"])


def test_a_transform_without_settings_cannot_be_changed(refused: Any) -> None:
    with refused("the transform of 'test:model' cannot be changed with 'crop=1'", "file:path.py:function"):
        overridden(model(lambda image: torch.zeros(3, 4, 4)), ["crop=1"])


def test_a_missing_transform_is_refused_or_given(refused: Any) -> None:
    missing = model(MissingTransform("there is none; pass --transform", 16, 3))
    with refused("there is none; pass --transform"):
        overridden(missing, ())
    with refused("there is none; pass --transform"):
        overridden(missing, ["mean=0.5"])
    assert overridden(missing, ["mean=0.5", "std=0.5"]).transform == ImageTransform(16, 3, (0.5,), (0.5,))


CODE = """
import torch

def own():
    return lambda image: torch.full((3, 2, 2), float(image.size[0]))

def around(transform):
    return lambda image: transform(image) * 2

def optional(transform=None):
    assert transform is None
    return own()

def nothing():
    return 3

def broken():
    raise KeyError("two\\nlines")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "read.py"
    path.write_text(CODE)
    return path


def test_a_function_makes_a_transform_of_its_own_or_around_the_models(code: Path) -> None:
    image = Image.new("RGB", (7, 7), "white")
    assert float(overridden(model(), [f"file:{code}:own"]).transform(image)[0, 0, 0]) == 7
    assert torch.equal(overridden(model(), [f"file:{code}:around"]).transform(image), 2 * PLAIN(image))
    assert float(overridden(model(), [f"file:{code}:optional"]).transform(image)[0, 0, 0]) == 7


def test_the_text_is_tied_to_the_files_bytes(code: Path) -> None:
    first = overridden(model(), [f"file:{code}:own"]).transform_text
    assert " from read.py " in first
    assert " at 0x" not in first
    code.write_text(CODE + "# changed")
    assert overridden(model(), [f"file:{code}:own"]).transform_text != first
    assert text_of(PLAIN, "read.py", b"").startswith(PLAIN.describe())


@pytest.mark.parametrize(
    ("function", "part"),
    [("nothing", "returned int"), ("broken", "failed: KeyError"), ("other", "has no function"), ("", "expected file:")],
)
def test_a_function_that_makes_none_is_refused(code: Path, function: str, part: str, refused: Any) -> None:
    with refused(part):
        overridden(model(), [f"file:{code}:{function}"])
