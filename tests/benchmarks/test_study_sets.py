"""The study's data: named, divided and described, on packages made here of a few rows each."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shlex
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import nn

from featurecache import FeatureCache
from featurecache.datasets import open_images
from featurecache.models import new_model
from featurecache.training.freezing import last_block
from rebalance_cli.main import cli

FOLDER = Path(__file__).parents[2] / "benchmarks" / "studying"
NAMES = ("train", "val", "test")


@pytest.fixture(scope="module")
def part() -> Iterator[Callable[[str], Any]]:
    """A module of benchmarks/studying, which is loaded by its path: part("sets.icons")."""
    known = set(sys.modules)
    spec = importlib.util.spec_from_file_location(
        FOLDER.name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[FOLDER.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield lambda name: importlib.import_module(f"{FOLDER.name}.{name}")
    for name in set(sys.modules) - known:
        if name.partition(".")[0] == FOLDER.name:
            del sys.modules[name]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=120), st.integers(0, 20), st.integers(0, 9))
def test_train_keeps_half_of_every_class(part: Any, labels: list[int], test: int, val: int) -> None:
    rows = np.array(labels)
    parts = part("sets.dividing").by_class(rows, test=test, val=val)
    for label in np.unique(rows):
        train, held, tested = np.bincount(parts[rows == label], minlength=3)
        assert 2 * train >= train + held + tested
        assert held <= val
        assert tested <= test
    assert np.array_equal(parts, part("sets.dividing").by_class(rows, test=test, val=val))


def test_groups_stay_together_and_every_class_is_trained(part: Any) -> None:
    random = np.random.default_rng(0)
    labels, groups = random.integers(0, 8, 900), random.integers(0, 30, 900)
    parts = part("sets.dividing").by_group(labels, groups, test=0.25, val=0.1)
    assert all(len(set(parts[groups == group])) == 1 for group in range(30))
    assert set(labels[parts == 0]) == set(range(8))
    shares = np.bincount(parts, minlength=3) / 900
    # What is left of a share is smaller than any group that did not fit.
    assert 0.2 <= shares[2] <= 0.25
    assert 0.05 <= shares[1] <= 0.1


def test_one_group_cannot_be_divided(part: Any) -> None:
    with pytest.raises(ValueError, match="take smaller shares"):
        part("sets.dividing").by_group(np.zeros(5, np.int64), np.zeros(5, np.int64), test=1.0, val=0.0)


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("arrow-up-filled-24", "arrow-up"),
        ("baseline-two-tone-home", "home"),
        ("User-Outline", "user"),
        ("sunny-2", "sunny"),
        ("line-outline", None),
        ("4k-tv", None),
        ("ab", None),
    ],
)
def test_a_name_says_what_is_shown(part: Any, name: str, shows: str | None) -> None:
    assert part("sets.icon_names").shown_by(name) == shows


def path_of(set_number: int, icon: int) -> str:
    """An SVG body that no other set draws."""
    return f'<path fill="currentColor" d="M{1 + icon % 9} {1 + set_number % 11}h{3 + set_number // 11}v{4 + icon}z"/>'


@pytest.fixture
def icons(tmp_path: Path) -> Path:
    """The content of a package @iconify/json: 22 sets that draw "home" and "star", four that draw "rare"."""
    (tmp_path / "json").mkdir()
    about = {}

    def add(name: str, bodies: dict[str, str], author: str | None = None, licence: str = "MIT", **facts: Any) -> None:
        about[name] = {"author": {"name": author or name}, "license": {"spdx": licence}, "palette": False, **facts}
        found = {icon: {"body": body} for icon, body in bodies.items()}
        (tmp_path / "json" / f"{name}.json").write_text(json.dumps({"icons": found, "width": 24, "height": 24}))

    for i in range(22):
        more = {"rare": path_of(i, 7)} if i < 4 else {"home-2": "<g/>"} if i == 4 else {}
        add(f"set{i:02d}", {"home": path_of(i, 1), "star-fill": path_of(i, 2), **more})
    add("fork", {"home": path_of(3, 1), "star": path_of(40, 3)})
    add("twin", {"home-line": path_of(41, 1).replace("/>", ' opacity="1"/>')}, author="set05")
    add("copyleft", {"home": path_of(42, 1)}, licence="GPL-3.0")
    add("colours", {"home": path_of(43, 1)}, palette=True)
    add("brands", {"home": path_of(44, 1)}, category="Logos")
    (tmp_path / "collections.json").write_text(json.dumps(about))
    return tmp_path


def test_icons_are_divided_by_their_makers(part: Any, icons: Path, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    out = tmp_path / "out"
    out.mkdir()
    part("sets.icons").write_pictures(icons, out)
    family: dict[str, set[str]] = {}
    for name in NAMES:
        images = open_images(str(out / f"{name}.txt"), transform=None, root=out)
        assert images.class_names == ("home", "star")
        family[name] = {Path(i).name.partition("--")[0] for i in images.sample_ids or []}
    assert set.union(*family.values()) == {*(f"set{i:02d}" for i in range(22)), "fork", "twin"}
    assert not family["train"] & family["test"]
    assert not family["val"] & (family["train"] | family["test"])
    together = [{"set03", "fork"}, {"set05", "twin"}]  # shared drawings, one author
    assert all(sum(bool(pair & makers) for makers in family.values()) == 1 for pair in together)
    with Image.open(next(out.glob("images/home/*.png"))) as picture:
        assert (picture.mode, picture.size) == ("L", (32, 32))
        assert picture.getextrema() == (0, 255)


def write_idx(path: Path, values: np.ndarray) -> None:
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes())


def test_fashion_is_long_tailed_and_its_val_balanced(part: Any, tmp_path: Path) -> None:
    files = tmp_path / "downloads/dataset-fashion-mnist/usr/share/datasets/fashion-mnist"
    files.mkdir(parents=True)
    random = np.random.default_rng(0)
    for word, each in (("train", 250), ("t10k", 3)):
        labels = random.permutation(np.repeat(np.arange(10, dtype=np.uint8), each))
        write_idx(files / f"{word}-images-idx3-ubyte", random.integers(0, 256, (len(labels), 4, 4), np.uint8))
        write_idx(files / f"{word}-labels-idx1-ubyte", labels)
    made = part("sets").SETS["fashion"](tmp_path)
    rows = {name: open_images(data, transform=None) for name, data in made.splits.items()}
    assert np.bincount(rows["val"].labels).tolist() == [50] * 10
    assert np.bincount(rows["test"].labels).tolist() == [3] * 10
    counts = np.bincount(rows["train"].labels)
    assert (counts[0], counts[-1]) == (200, 2)
    assert all(counts[:-1] >= counts[1:])
    assert not {*rows["train"].sample_ids} & {*rows["val"].sample_ids}
    assert part("sets").SETS["fashion"](tmp_path) == made


def test_clipart_is_labelled_by_folder(part: Any, tmp_path: Path) -> None:
    png = tmp_path / "png"
    for i in range(12):
        for folder in ("plants", "animals/birds/small", "unsorted", *(["rare"] if i < 3 else [])):
            path = png / folder / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGBA", (30 + i, 2), (len(folder), i, 0, 255)).save(path)
    shutil.copy(png / "plants/0.png", png / "plants/copy.png")
    (png / "plants/link.png").symlink_to("0.png")
    out = tmp_path / "out"
    out.mkdir()
    part("sets.clipart").write_pictures(png, out)
    rows = {name: open_images(str(out / f"{name}.txt"), transform=None, root=out) for name in NAMES}
    assert {images.class_names for images in rows.values()} == {("animals/birds", "plants")}
    assert [np.bincount(rows[name].labels).tolist() for name in NAMES] == [[6, 6], [3, 3], [3, 3]]
    with Image.open(out / "images/plants/0.png") as picture:
        assert picture.size == (256, 256)
        assert picture.getpixel((128, 128)) == (6, 0, 0)
        assert picture.getpixel((128, 100)) == (255, 255, 255)


def test_the_weights_get_our_names(part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    monkeypatch.setattr(part("sets.clipart"), "new_model", lambda arch, num_classes: ours)
    theirs = {f"old.{i}": torch.randn_like(t) for i, t in enumerate(ours.state_dict().values()) if t.ndim}
    torch.save(theirs, tmp_path / "old.pth")
    part("sets.clipart").write_weights(tmp_path / "old.pth", tmp_path / "new.safetensors")
    renamed = load_file(tmp_path / "new.safetensors")
    assert ours.load_state_dict(renamed, strict=False).unexpected_keys == []
    assert torch.equal(ours[1].running_var, theirs["old.5"])
    torch.save({"old.0": torch.zeros(1)}, tmp_path / "old.pth")
    with pytest.raises(ValueError, match="not of the architecture"):
        part("sets.clipart").write_weights(tmp_path / "old.pth", tmp_path / "new.safetensors")


def test_definitions_become_means_of_their_tokens(part: Any, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    vectors, definitions = tmp_path / "vectors", tmp_path / "wordnet"
    for folder in (vectors / "tokenizers", vectors / "weights", definitions):
        folder.mkdir(parents=True)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(vectors / "tokenizers/t.json"))
    save_file({"embedding": np.array([[1, 0], [0, 2]], np.float16)}, vectors / "weights/w.safetensors")
    lines = ["  the licence", *(f"{i:08d} 03 n 01 word{i} 0 000 | a b b b  " for i in range(8))]
    for kind in ("noun", "verb", "adj", "adv"):
        (definitions / f"data.{kind}").write_text("\n".join(lines if kind == "noun" else lines[:1]) + "\n")
    part("sets.wordnet").write_cache(definitions, vectors, tmp_path / "w.cache")
    cache = FeatureCache(tmp_path / "w.cache")
    assert [len(cache[name].labels) for name in NAMES] == [4, 2, 2]
    assert cache["test"].features.tolist() == [[0.25, 1.5]] * 2
    assert cache.class_names is not None
    assert {cache.class_names[label] for label in cache["train"].labels.tolist()} == {"noun.Tops"}


@pytest.mark.parametrize(("function", "width", "pixels"), [("features_64", 64, 28), ("features_128", 128, 32)])
def test_the_network_has_the_features_it_says(function: str, width: int, pixels: int) -> None:
    model = new_model(f"file:{FOLDER / 'network.py'}:{function}", num_classes=7).eval()
    images = torch.randn(2, 1, pixels, pixels)
    assert model(images).shape == (2, 7)
    assert model.get_submodule("classifier").weight.shape == (7, width)
    blocks = len(model.get_submodule("blocks"))
    assert last_block(model, images, "classifier") == (f"blocks.{blocks - 1}",)


@pytest.mark.parametrize("name", ["digits", "fashion", "icons"])
def test_the_command_takes_the_options(part: Any, name: str, tmp_path: Path) -> None:
    for folder in ("data", "downloads"):  # as if everything had been made
        for made in ("fashion", "icons", "dataset-fashion-mnist"):
            (tmp_path / folder / made).mkdir(parents=True)
    made = part("sets").SETS[name](tmp_path)
    train = cli.get_command(click.Context(cli), "train")
    assert train is not None
    for options in (made.training, made.tuning):
        words = [made.splits["train"], "--out", str(tmp_path / "m.pt"), *options]
        given_options = train.make_context("train", words).params
        assert given_options["grey"], shlex.join(words)
        assert given_options["epochs"] < 10
