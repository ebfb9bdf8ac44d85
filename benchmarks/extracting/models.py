"""Extraction next to a bare forward loop over the same tensors in memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from speed.measure import state
from torch.utils.data import TensorDataset

from extracting.pairs import interleaved, seconds
from featurecache import extract
from featurecache.models.timm.library import import_timm

BATCH, SIZE, CLASSES = 32, 224, 1000
TARGET = {"cpu": 0.97, "cuda": 0.95}
BATCHES = {"resnet18": 8, "resnet50": 4}  # of one run on a CPU
MORE_ON_CUDA = 32  # times as many


def models(work: Path, pairs: int) -> None:
    """ResNet-18 and ResNet-50 at 224 pixels, batches of 32."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name, batches in BATCHES.items():
        one(name, batches * (MORE_ON_CUDA if device.type == "cuda" else 1), device, work, pairs)


def one(name: str, batches: int, device: torch.device, work: Path, pairs: int) -> None:
    """One model on a device."""
    torch.manual_seed(0)
    model = import_timm().create_model(name, num_classes=CLASSES).to(device).eval()
    images = torch.randn(batches * BATCH, 3, SIZE, SIZE)
    data = TensorDataset(images, torch.arange(len(images)) % CLASSES)

    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def bare() -> float:
        def loop() -> None:
            with torch.inference_mode():
                for batch in images.split(BATCH):
                    model(batch.to(device))
            synchronize()

        return seconds(loop)

    def ours() -> float:
        cache = work / "c"
        shutil.rmtree(cache, ignore_errors=True)
        return extract(model, {"train": data}, cache, batch_size=BATCH, device=device).seconds

    ratio = interleaved(bare, ours, pairs)
    state(
        f"{name}, {len(images)} images of {SIZE} x {SIZE} in batches of {BATCH} on {device.type}: rate next to the "
        f"bare forward loop {ratio}; target {TARGET[device.type]:g}",
        ratio.median >= TARGET[device.type],
    )
