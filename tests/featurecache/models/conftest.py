"""What the tests of the model sources share: tiny Hugging Face models in folders, and a picture."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featurecache.models.huggingface.library import import_transformers, quiet

VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 7,
}


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    """The library; the test is skipped where it is not installed."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    return import_transformers()


@pytest.fixture
def hf_folder(transformers: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """A saved model: `hf_folder("ViTForImageClassification", num_labels=3)`, with random weights of seed 0.

    The configuration is of the class's own kind, small where it is a vision transformer; `processor` is one of the
    library's, None leaves it out; `keep` chooses the tensors that are saved; `shards` bounds the size of a file.
    """
    made = []

    def save(
        kind: str,
        *,
        processor: Any = "vit",
        keep: Callable[[str], bool] | None = None,
        shards: str = "1GB",
        **config: Any,
    ) -> Path:
        folder = tmp_path / f"model{len(made)}"
        made.append(folder)
        own = getattr(transformers, kind)
        settings = {**VIT, **config} if "num_hidden_layers" in own.config_class().to_dict() else config
        torch.manual_seed(0)
        model = own(own.config_class(**settings))
        state = {key: value for key, value in model.state_dict().items() if keep is None or keep(key)}
        if processor == "vit":
            processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
        with quiet(transformers):
            model.save_pretrained(folder, state_dict=state, max_shard_size=shards)
            if processor is not None:
                processor.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A picture of 90 x 70 pixels, smooth enough that pixels have neighbours like them."""
    noise = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((90, 70), Image.Resampling.BICUBIC)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every connection fails; what was tried is in the list."""
    tried: list[Any] = []

    def refuse(_: socket.socket, address: Any) -> None:
        tried.append(address)
        raise OSError("no route to host")

    def unknown(*given: Any, **_: Any) -> None:
        tried.append(given)
        raise socket.gaierror("no name")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    return tried
