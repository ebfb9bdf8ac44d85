"""Models from the user's own Python file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from featurecache.models.python_file import new_from_file, open_file

CODE = """
from dataclasses import dataclass
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))

def sized(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))

def default(num_classes=5):
    return sized(num_classes)

def read(image):
    return torch.full((3, 2, 2), float(image.size[0]))

def own():
    return plain(), read

@dataclass
class Reader:
    size: int = 2
    def __call__(self, image):
        return torch.zeros(3, 2, 2)

def described():
    return plain(), Reader()

def nothing():
    return 3

def broken():
    raise KeyError("two\\nlines")

number = 3
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "random.py"  # the name of a module of the standard library
    path.write_text(CODE)
    return path


def test_without_a_transform_images_are_squares_in_0_to_1(code: Path) -> None:
    model = open_file(f"{code}:plain", image_size=2)
    assert not model.module.training
    pixels = model.transform(Image.new("L", (9, 5), 255))
    torch.testing.assert_close(pixels, torch.ones(3, 2, 2))
    assert model.module(pixels[None]).shape == (1, 2)
    assert "centre crop 224" in open_file(f"{code}:plain").transform_text


def test_the_number_of_classes_reaches_a_function_that_takes_it(code: Path) -> None:
    def classes(module: nn.Module) -> int:
        return module[-1].out_features  # type: ignore[index, no-any-return]

    assert classes(open_file(f"{code}:sized", num_classes=7).module) == 7
    assert classes(open_file(f"{code}:plain", num_classes=7).module) == 2
    assert classes(open_file(f"{code}:default").module) == 5
    assert classes(new_from_file(f"{code}:sized", num_classes=3, channels=3, image_size=2)) == 3


def test_a_function_may_bring_its_transform(code: Path, refused: Any) -> None:
    model = open_file(f"{code}:own")
    assert model.transform(Image.new("RGB", (9, 5)))[0, 0, 0] == 9
    assert model.transform_text.startswith("read from random.py ")
    assert open_file(f"{code}:described").transform_text.startswith("Reader(size=2) from random.py ")
    with refused("returns a transform of its own; leave --image-size out"):
        open_file(f"{code}:own", image_size=8)


def test_the_text_changes_with_the_file(code: Path) -> None:
    before = open_file(f"{code}:own").transform_text
    assert open_file(f"{code}:own").transform_text == before
    code.write_text(CODE + "\n# another\n")
    assert open_file(f"{code}:own").transform_text != before


def test_no_module_of_the_standard_library_is_replaced(code: Path) -> None:
    import random

    open_file(f"{code}:plain")
    assert sys.modules["random"] is random
    assert str(code.parent) not in sys.path


def test_a_checkpoint_is_loaded(code: Path, tmp_path: Path, refused: Any) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    torch.save(module.state_dict(), tmp_path / "w.pt")
    model = open_file(f"{code}:plain", checkpoint=tmp_path / "w.pt")
    assert torch.equal(model.module.state_dict()["1.weight"], module[1].weight)
    with refused("w.pt", "of another architecture than file:", "(2, 12), expected (3, 12)"):
        open_file(f"{code}:sized", checkpoint=tmp_path / "w.pt", num_classes=3)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("{}", ["expected file:path.py:function"]),
        ("{}:not-a-name", ["expected file:path.py:function"]),
        ("{}x:f", ["expected file:path.py:function"]),
        ("{}:absent", ["has no function 'absent'"]),
        ("{}:number", ["has no function 'number'"]),
        ("{}:nothing", ["returned int, expected an nn.Module"]),
        ("{}:broken", ["KeyError", "two"]),
        ("{}:sized", ["it needs num_classes"]),
        ("gone.py:f", ["'gone.py' does not exist"]),
    ],
)
def test_what_does_not_work_is_told_in_one_line(code: Path, name: str, parts: list[str], refused: Any) -> None:
    with refused(*parts):
        open_file(name.format(code))


def test_a_file_that_cannot_be_imported_leaves_no_trace(code: Path, refused: Any) -> None:
    code.write_text("import no_such_module_at_all\n")
    before = set(sys.modules)
    with refused("random.py' cannot be imported: ModuleNotFoundError"):
        open_file(f"{code}:plain")
    assert set(sys.modules) == before


def test_a_checkpoint_without_a_classifier_gives_features(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        "from collections import OrderedDict\nfrom torch import nn\n\ndef build():\n"
        "    pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())\n"
        "    return nn.Sequential(OrderedDict(pool=pool, body=nn.Linear(12, 4), head=nn.Linear(4, 3)))\n"
    )
    state = open_file(f"{path}:build").module.state_dict()
    torch.save({name: value for name, value in state.items() if "head" not in name}, tmp_path / "w.pth")
    model = open_file(f"{path}:build", checkpoint=tmp_path / "w.pth", image_size=8)
    assert not model.has_head
    assert "has no classifier" in model.notes[0]
    assert model.module(torch.randn(2, 3, 8, 8)).shape == (2, 4)


def test_averaged_weights_are_taken_when_asked_for(code: Path, tmp_path: Path) -> None:
    plain, averaged = (open_file(f"{code}:plain").module.state_dict() for _ in range(2))
    torch.save({"state_dict": plain, "state_dict_ema": averaged}, tmp_path / "w.pth")
    for ema, expected in ((False, plain), (True, averaged)):
        state = open_file(f"{code}:plain", checkpoint=tmp_path / "w.pth", ema=ema).module.state_dict()
        assert all(torch.equal(state[name], value) for name, value in expected.items())


def test_a_transform_of_the_users_own_gets_colours(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def load():\n"
        "    return nn.Flatten(), lambda image: torch.tensor([float(len(image.getbands()))])\n"
        "def words():\n"
        "    return nn.Flatten(), lambda text: torch.tensor([float(len(text))])\n"
    )
    transform: Any = open_file(f"{tmp_path / 'own.py'}:load").transform
    assert [transform(Image.new(mode, (2, 2))).item() for mode in ("L", "RGB")] == [3, 3]
    reads: Any = open_file(f"{tmp_path / 'own.py'}:words").transform
    assert reads("four").item() == 4
