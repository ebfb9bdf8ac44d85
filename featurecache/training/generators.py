"""The random generators of a process: seeded, kept, written down and restored.

Three of them, for a data set of anyone's may draw from any: torch's, NumPy's global one and Python's own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_WORDS = 624  # of the Mersenne twister, which NumPy's global generator and Python's are


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """All generators seeded within the block; afterwards they are as they were before it.

    seed: of all of them. device: torch's generator there is kept too.
    """
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002  # the global one is what others' code draws from
    with torch.random.fork_rng(devices=_cuda_devices(device)):
        try:
            seed_all(seed)
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])  # noqa: NPY002


def seed_all(seed: int) -> None:
    """Seeds torch on every device, NumPy's global generator and Python's."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def mixed(*numbers: int) -> int:
    """A seed that other numbers, or the same in another order, do not give. numbers: 0 or more each."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def states(device: torch.device) -> dict[str, Any]:
    """Where all generators stand, as tensors and plain numbers. device: torch's generator there is included."""
    numpys: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    words, place = numpys["state"]["key"], numpys["state"]["pos"]
    version, own, own_gauss = random.getstate()
    found = {
        "torch": torch.get_rng_state(),
        "numpy": [
            torch.from_numpy(words.astype(np.int64)),
            int(place),
            int(numpys["has_gauss"]),
            float(numpys["gauss"]),
        ],
        "python": [version, torch.tensor(own), own_gauss],
    }
    return found | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore(found: dict[str, Any], device: torch.device) -> None:
    """Puts all generators where `states` found them; one of CUDA only where it was written down.

    Raises KeyError, TypeError, ValueError or RuntimeError for what `states` does not make.
    """
    words, place, has_gauss, gauss = found["numpy"]
    version, own, own_gauss = found["python"]
    if len(words) != _WORDS or len(own) != _WORDS + 1:
        raise ValueError("the generators' states have another length")
    torch.set_rng_state(found["torch"])
    np.random.set_state(("MT19937", words.numpy().astype(np.uint32), place, has_gauss, gauss))  # noqa: NPY002
    random.setstate((version, tuple(own.tolist()), own_gauss))
    if device.type == "cuda" and "cuda" in found:
        torch.cuda.set_rng_state(found["cuda"], device)


def _cuda_devices(device: torch.device) -> list[int]:
    if device.type != "cuda":
        return []
    return [torch.cuda.current_device() if device.index is None else device.index]
