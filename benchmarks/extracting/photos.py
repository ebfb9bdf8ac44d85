"""Extraction from JPEG files with a small model, next to the same DataLoader iterated without a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from speed.measure import state
from torch import nn
from torch.utils.data import DataLoader

from extracting.pairs import interleaved, seconds
from featurecache import extract
from featurecache.datasets import ImageTransform, open_images

IMAGES, WIDTH, HEIGHT, CLASSES, BATCH = 384, 800, 600, 4, 32
TARGET = 0.95


def photos(work: Path, pairs: int) -> None:
    """JPEG files of 800 x 600 pixels, read at 224, and a model that takes a fraction of the time of reading them."""
    folder = made(work / "photos")
    data = open_images(str(folder), transform=ImageTransform(size=224), root=None)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 7, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES)
    ).eval()
    for workers in (0, 2):

        def bare(workers: int = workers) -> float:
            loader = DataLoader(data, batch_size=BATCH, num_workers=workers)
            return seconds(lambda: [None for _ in loader])

        def ours(workers: int = workers) -> float:
            shutil.rmtree(work / "c", ignore_errors=True)
            return extract(model, {"train": data}, work / "c", batch_size=BATCH, workers=workers).seconds

        ratio = interleaved(bare, ours, pairs)
        state(
            f"{IMAGES} JPEG files of {WIDTH} x {HEIGHT}, {workers} workers: rate next to the DataLoader without a "
            f"model {ratio}; target {TARGET:g}",
            ratio.median >= TARGET,
        )


def made(folder: Path) -> Path:
    """Smooth pictures with some grain: files of about 150 kB, as a telephone's smaller ones."""
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        coarse = Image.fromarray(random.integers(0, 255, (12, 16, 3), np.uint8)).resize((WIDTH, HEIGHT), 3)
        grain = random.normal(0, 8, (HEIGHT, WIDTH, 3))
        path = folder / str(number % CLASSES) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
    return folder
