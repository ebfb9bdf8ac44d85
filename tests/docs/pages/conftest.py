"""The folders and names that the pages' blocks begin with, each page with copies of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from featurecache.models.huggingface.library import import_transformers
from featurecache.models.timm.library import import_timm

ROOT = Path(__file__).resolve().parents[3]
CLASSES = ("daisy", "rose", "tulip")
ROWS = {"train": (9, 5, 3), "val": (2, 2, 2), "test": (2, 2, 2)}

WORDS = ["a", "small", "grey", "animal", "that", "runs", "to", "move", "in", "water"]
SENSES = {  # of each part of speech (lexicographer file, definitions)
    "noun": [(5, 24), (18, 12)],
    "verb": [(38, 8)],
    "adj": [(0, 16), (44, 6)],
    "adv": [(2, 5)],
}

MODEL_FILE = """\
import torch
from torch import nn


def load():
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 16, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(features, nn.Linear(16, 3))
"""


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: photos/, trained models of several kinds, costs of decisions, features of another program."""
    folder = tmp_path_factory.mktemp("photographs")
    _photos(folder / "photos")
    torch.manual_seed(0)
    torch.save(_resnet50().state_dict(), folder / "mine.pth")
    _vit(folder / "my-vit")
    (folder / "model.py").write_text(MODEL_FILE, "utf-8")
    costs = [[0 if row == column else 1 + 4 * row for column in range(3)] for row in range(3)]
    (folder / "costs.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in costs), "utf-8")
    random = np.random.default_rng(0)
    np.savez(folder / "logistic.npz", coef_=random.normal(size=(3, 8)), intercept_=random.normal(size=3))
    np.savez(folder / "features.npz", feats=random.normal(size=(12, 8)).astype(np.float32), y=np.arange(12) % 3)
    return folder


def _photos(folder: Path) -> None:
    """Noisy tiles of 80 x 72 pixels, a colour pattern a class; new/ holds images and no folders."""
    random = np.random.default_rng(0)
    bases = random.integers(40, 215, size=(len(CLASSES), 5, 4, 3))
    for split, rows in (ROWS | {"new": (2, 1, 1)}).items():
        for name, base, count in zip(CLASSES, bases, rows, strict=True):
            inside = folder / split / ("" if split == "new" else name)
            inside.mkdir(parents=True, exist_ok=True)
            for row in range(count):
                pixels = np.kron(base, np.ones((16, 18, 1))) + random.normal(0, 25, size=(80, 72, 3))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(inside / f"{name}_{row:02}.jpg")


def _resnet50() -> nn.Module:
    model: nn.Module = import_timm().create_model("resnet50", num_classes=len(CLASSES))
    return model


def _vit(folder: Path) -> None:
    transformers = import_transformers()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = dict(enumerate(CLASSES))
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, id2label=names, label2id={name: row for row, name in names.items()}, **sizes
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


@pytest.fixture(scope="session")
def extracted(photographs: Path, tmp_path_factory: pytest.TempPathFactory, rebalance: Callable[..., None]) -> Path:
    """The same folder after `train` (joint.pt), `extract` (photos.cache) and `tune crt` (crt.safetensors)."""
    folder = tmp_path_factory.mktemp("extracted")
    _copy(photographs, folder)
    rebalance(folder, "train", "photos/train", "--out", "joint.pt", "--epochs", 6)
    splits = ("train=joint.train.txt", "val=joint.val.txt", "test=photos/test")
    options = [word for split in splits for word in ("--split", split)]
    rebalance(folder, "extract", "photos.cache", "--model", "run:joint.pt", "--root", "photos/train", *options)
    rebalance(folder, "tune", "crt", "photos.cache", "--out", "crt.safetensors")
    return folder


@pytest.fixture
def photos_world(photographs: Path, tmp_path: Path) -> Path:
    """What a user has at first: photos/{train,val,test}/CLASS/*.jpg, photos/new/*.jpg, mine.pth and the like."""
    return _copy(photographs, tmp_path)


@pytest.fixture
def cached_world(extracted: Path, tmp_path: Path) -> Path:
    """photos_world with joint.pt, photos.cache and crt.safetensors."""
    return _copy(extracted, tmp_path)


def _copy(folder: Path, empty: Path) -> Path:
    shutil.copytree(folder, empty, dirs_exist_ok=True, ignore=shutil.ignore_patterns("mine.pth"))
    (empty / "mine.pth").hardlink_to(folder / "mine.pth")  # 94 MB, which nothing writes to
    return empty


@pytest.fixture(scope="session")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of definitions: its file, and data of the real formats with a few rows and numbers beside it."""
    folder = tmp_path_factory.mktemp("definitions")
    shutil.copy(ROOT / "examples" / "wordnet" / "wordnet.py", folder)
    _dictionary(folder / "data" / "wordnet")
    _encoder(folder / "data" / "minilm")
    return folder


def _dictionary(folder: Path) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, files in SENSES.items():
        lines = ["  1 This software and database is being provided | to you"]
        for file, rows in files:
            for row in range(rows):
                text = " ".join(random.choice(WORDS, size=random.integers(2, 9)))
                sense = f"{file * 1000 + row:08} {file:02} {part[0]} 01 word_{row} 0 000"
                lines.append(f'{sense} | {text}; "it says | so"  ')
        (folder / f"data.{part}").write_text("\n".join(lines) + "\n", "utf-8")


def _encoder(folder: Path) -> None:
    transformers = import_transformers()
    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)


@pytest.fixture
def wordnet_world(definitions: Path, tmp_path: Path) -> Path:
    """wordnet.py, and the dictionary and the encoder in data/."""
    shutil.copytree(definitions, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def flowers_setup() -> dict[str, Any]:
    """A small classifier, three sets of images of four classes, and features that came from elsewhere."""
    rng = np.random.default_rng(0)
    counts = {"train": [40, 20, 10, 5], "val": [8] * 4, "test": [8] * 4}
    centres = torch.from_numpy(rng.normal(size=(4, 3, 8, 8))).float()
    made: dict[str, Any] = {}
    for split, sizes in counts.items():
        labels = torch.from_numpy(np.repeat(np.arange(4), sizes))
        images = centres[labels] + 0.5 * torch.from_numpy(rng.normal(size=(len(labels), 3, 8, 8))).float()
        made[f"{split}_images"] = TensorDataset(images, labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    images, labels = made["train_images"].tensors
    with torch.no_grad():
        return made | {"model": model, "features": model[:-1](images), "labels": labels}
