"""What the last bits of an extraction depend on beside the model and the data: device, threads, seed, versions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

PACKAGES = ("torch", "numpy", "pillow", "torchvision", "timm", "transformers")


def surroundings(device: torch.device, seed: int, **last_bits: Any) -> dict[str, Any]:
    """Device, threads, seed and the versions of the packages that are installed, as cache.json records them.

    last_bits: what else is to be recorded, such as channels_last=True.
    """
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": kind, "threads": torch.get_num_threads(), "seed": seed, **last_bits, "versions": versions}


@contextmanager
def same_threads(made_with: dict[str, Any] | None) -> Iterator[None]:
    """As many threads inside the block as the extraction was begun with: sums depend on how they are divided."""
    threads = (made_with or {}).get("threads")
    before = torch.get_num_threads()
    if type(threads) is int and 0 < threads <= 4096:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
