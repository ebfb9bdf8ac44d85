"""Miniatures of the recipes' data: archives, lists and checkpoints under their own names, with a few made images."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from featurecache.models.resnet import BasicBlock, Bottleneck, ResNet
from featurecache.models.resnet_cifar import ResNet32

COUNTS = (101, 21, 5)  # training images of the three classes: many, medium, few
VAL, TEST = 3, 4  # images of every class
SYNSETS = ("n01440764", "n01443537", "n01484850")
SCENES = ("airfield", "airplane_cabin", "airport_terminal")
SPECIES = ("Aves/2820", "Insecta/1089", "Plantae/7477")
CIFAR_ROWS, CIFAR_CLASSES = {"train": 202, "test": 8}, 4  # a class; the exponential tail is 202, 43, 9, 2
SIDE = 40  # pixels


@pytest.fixture(scope="session")
def imagenet_lt_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet's two archives, the three lists, and a checkpoint, of a ResNet-10 instead of a ResNeXt-50."""
    folder = tmp_path_factory.mktemp("imagenet-lt")
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    archives: dict[str, bytes] = {}
    flat: dict[str, bytes] = {}
    for label, (synset, count) in enumerate(zip(SYNSETS, COUNTS, strict=True)):
        names = [f"{synset}_{10026 + i}.JPEG" for i in range(count + VAL)]
        archives[f"{synset}.tar"] = _tar({name: _picture(label, i) for i, name in enumerate(names)})
        lines = [f"train/{synset}/{name} {label}" for name in names]
        lists["train"] += lines[:count]
        lists["val"] += lines[count:]
        judged = [f"ILSVRC2012_val_{TEST * label + i + 1:08}.JPEG" for i in range(TEST)]
        flat |= {name: _picture(label, 1000 + i) for i, name in enumerate(judged)}
        lists["test"] += [f"val/{synset}/{name} {label}" for name in judged]
    (folder / "ILSVRC2012_img_train.tar").write_bytes(_tar(archives))
    (folder / "ILSVRC2012_img_val.tar").write_bytes(_tar(flat))
    _write_lists(folder, "ImageNet_LT", lists)
    _save_reference(ResNet(BasicBlock, (1, 1, 1, 1), len(COUNTS)), folder / "resnext50_uniform_e90.pth")
    return folder


@pytest.fixture(scope="session")
def places_lt_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of Places365 with a folder a class, the three lists, a checkpoint, and weights of 1,000 classes.

    The checkpoint is of a ResNet-10 instead of a ResNet-152, the weights are of a ResNet-32 for small images.
    """
    folder = tmp_path_factory.mktemp("places-lt")
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    files: dict[str, bytes] = {}
    for label, (scene, count) in enumerate(zip(SCENES, COUNTS, strict=True)):
        paths = [f"train/{scene}/{i + 1:08}.jpg" for i in range(count + VAL)]
        paths += [f"val/{scene}/Places365_val_{TEST * label + i + 1:08}.jpg" for i in range(TEST)]
        files |= {f"places365_standard/{path}": _picture(label, i) for i, path in enumerate(paths)}
        lines = [f"{path} {label}" for path in paths]
        lists["train"] += lines[:count]
        lists["val"] += lines[count : count + VAL]
        lists["test"] += lines[count + VAL :]
    (folder / "places365standard_easyformat.tar").write_bytes(_tar(files))
    _write_lists(folder, "Places_LT", lists)
    _save_reference(ResNet(BasicBlock, (1, 1, 1, 1), len(COUNTS)), folder / "resnet152_uniform.pth")
    torch.save(ResNet32(1000).state_dict(), folder / "resnet152-394f9c45.pth")
    return folder


@pytest.fixture(scope="session")
def inaturalist_2018_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archives of images and of both JSON files, and a checkpoint of the authors' ResNet-50."""
    folder = tmp_path_factory.mktemp("inaturalist-2018")
    files, number = {}, 0
    for name, counts in {"train2018": COUNTS, "val2018": (VAL,) * len(COUNTS)}.items():
        images: list[dict[str, Any]] = []
        annotations = []
        for label, (species, count) in enumerate(zip(SPECIES, counts, strict=True)):
            for _ in range(count):
                path = f"train_val2018/{species}/{number:032x}.jpg"
                files[path] = _picture(label, number)
                size = {"height": SIDE, "width": SIDE}
                images.append({"id": number, "file_name": path, **size, "license": 3, "rights_holder": "A. Nyone"})
                annotations.append({"id": number, "image_id": number, "category_id": label})
                number += 1
        categories = [{"id": k, "name": str(k), "supercategory": kind.split("/")[0]} for k, kind in enumerate(SPECIES)]
        about = {"info": {"year": 2018, "version": "1.0"}, "licenses": [{"id": 3, "name": "CC-BY-NC", "url": ""}]}
        record = {**about, "images": images, "annotations": annotations, "categories": categories}
        content = _tar({f"{name}.json": json.dumps(record).encode()}, "gz")
        (folder / f"{name}.json.tar.gz").write_bytes(content)
    (folder / "train_val2018.tar.gz").write_bytes(_tar(files, "gz"))
    _save_reference(ResNet(Bottleneck, (3, 4, 6, 3), len(COUNTS)), folder / "resnet50_uniform_e90.pth")
    return folder


@pytest.fixture(scope="session")
def cifar_100_lt_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of CIFAR-100's python batches, of four classes, whose long-tailed part is many, medium and few."""
    folder = tmp_path_factory.mktemp("cifar-100-lt")
    classes = [f"class {k}" for k in range(CIFAR_CLASSES)]
    files = {"cifar-100-python/meta": pickle.dumps({"fine_label_names": classes, "coarse_label_names": ["all"]}, 2)}
    for part, rows in CIFAR_ROWS.items():
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(CIFAR_CLASSES), rows)).tolist()
        pixels = [_pixels(label, i, 32).transpose(2, 0, 1).ravel() for i, label in enumerate(labels)]
        batch = {"data": np.array(pixels), "fine_labels": labels, "coarse_labels": [0] * len(labels)}
        files[f"cifar-100-python/{part}"] = pickle.dumps({**batch, "batch_label": part}, 2)
    (folder / "cifar-100-python.tar.gz").write_bytes(_tar(files, "gz"))
    return folder


def _pixels(label: int, number: int, side: int) -> NDArray[np.uint8]:
    """Noise around the colour of a class: uint8 (side, side, 3)."""
    random = np.random.default_rng([label, number])
    colour = 64 * (1 + np.eye(3)[label % 3])
    pixels: NDArray[np.uint8] = np.clip(colour + random.normal(0, 40, (side, side, 3)), 0, 255).astype(np.uint8)
    return pixels


def _picture(label: int, number: int) -> bytes:
    """A JPEG."""
    file = io.BytesIO()
    Image.fromarray(_pixels(label, number, SIDE)).save(file, "JPEG")
    return file.getvalue()


def _tar(files: Mapping[str, bytes], packing: str = "") -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=f"w:{packing}") as tar:  # type: ignore[call-overload]  # a text of two
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _write_lists(folder: Path, name: str, lists: Mapping[str, list[str]]) -> None:
    for split, lines in lists.items():
        (folder / f"{name}_{split}.txt").write_text("\n".join(lines) + "\n", "utf-8")


def _save_reference(network: nn.Module, path: Path) -> None:
    """Writes a checkpoint as the authors' program does: two state dicts behind `module.`, and figures."""
    torch.manual_seed(0)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    parts: dict[str, dict[str, Any]] = {"feat_model": {}, "classifier": {}}
    for key, value in state.items():
        parts["classifier" if ".fc." in key else "feat_model"][key] = value
    figures = {"epoch": 90, "best_epoch": 88, "best_acc": np.float64(0.44), "centroids": None}
    torch.save({**figures, "state_dict_best": parts}, path)
