"""A tiny cache and a few tiny images, written and read by the ways that everybody's take."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image, features

from featurecache.arrays import write
from featurecache.checkup.finding import Finding, failed, passed, warned
from featurecache.datasets import ImageTransform, open_images
from featurecache.layout import shard_path
from featurecache.reader import FeatureCache
from featurecache.reading.verification import damages

ROWS, WIDTH, CLASSES, SIDE = 300, 16, 7, 8
ENDINGS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "BMP": "bmp"}


def cache(spot: Path) -> Finding:
    """A cache with a head: written, compared with its checksums, read by us and by h5py. spot: a folder to use."""
    name, path = "cache", spot / "tiny.cache"
    random = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(ROWS, WIDTH, generator=random).numpy(), np.arange(ROWS) % CLASSES
    weight = torch.randn(CLASSES, WIDTH, generator=random)
    write(path, "train", rows, labels, head=(weight, torch.zeros(CLASSES)), dtype="float32")
    opened = FeatureCache(path)
    split, bad = opened["train"], list(damages(opened["train"]))
    with h5py.File(shard_path(path, "train", 0), "r", locking=False) as file:
        foreign = np.asarray(file["features"])
    same = all(np.array_equal(each, rows) for each in (split.features[:], foreign)) and (split.labels == labels).all()
    if bad or not same or not torch.equal(opened.head[0], weight):
        said = bad[0].message if bad else f"{ROWS} rows came back other than they were written"
        return failed(name, said, "test the disk and the memory, and use another disk until then")
    return passed(name, f"{ROWS} rows written, verified and read, by h5py too")


def images(spot: Path) -> Finding:
    """Class folders of images of the usual kinds. spot: as above."""
    name, folder = "images", spot / "images"
    (folder / "red").mkdir(parents=True)
    kinds = [*ENDINGS, *(["WEBP"] if features.check("webp") else [])]
    for kind in kinds:
        picture = Image.new("RGB", (2 * SIDE, SIDE), (200, 20, 20))
        picture.save(folder / "red" / f"{kind}.{ENDINGS.get(kind, 'webp')}", format=kind)
    data = open_images(str(folder), transform=ImageTransform(size=SIDE))
    worst = max(float((data[row][0] - data[0][0]).abs().max()) for row in range(len(data)))
    if len(data) != len(kinds) or worst > 0.1:  # a JPEG is a little off, a channel's order would be 0.7
        return failed(name, f"{', '.join(kinds)} do not all show the same red", "pip install --force-reinstall pillow")
    if len(kinds) == len(ENDINGS):
        return warned(name, "Pillow is built without WebP", "install Pillow with pip, whose wheels have it")
    return passed(name, f"{', '.join(kinds)} can be read")
