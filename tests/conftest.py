"""What holds in every test: Hypothesis' profiles, torch's threads, and no GPU test without a GPU."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# One thread unless asked otherwise: the tensors are tiny, and on a busy machine two threads wait for each other.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests marked `cuda` on a machine without a CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
