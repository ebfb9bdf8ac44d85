"""Names in memory and names in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from featurecache.models.huggingface.kind import kind_of
from featurecache.models.huggingface.library import quiet
from featurecache.models.huggingface.weights import in_todays_names
from featurecache.models.naming import fitted


@pytest.mark.parametrize("wrapper", ["", "model.", "model.net."])
def test_names_of_files_become_those_of_memory(
    transformers: ModuleType, hf_folder: Callable[..., Path], wrapper: str
) -> None:
    folder = hf_folder("ViTForImageClassification", num_labels=4)
    with quiet(transformers):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        memory = transformers.ViTForImageClassification.from_pretrained(folder).state_dict()
        kind = kind_of(transformers, config, "hf:x")
        config.num_labels = 9  # the checkpoint's classifier comes back although it does not fit
        saved = {wrapper + name: value for name, value in load_file(folder / "model.safetensors").items()}
        renamed = in_todays_names(kind, config, saved, checkpoint="w.pt")
    renamed = fitted(renamed, memory, checkpoint="w.pt").state  # what a version leaves that uses one kind of names
    assert renamed.keys() == memory.keys()
    assert all(torch.equal(renamed[name], value) for name, value in memory.items())


def test_names_of_memory_and_of_other_models_stay(transformers: ModuleType, hf_folder: Callable[..., Path]) -> None:
    folder = hf_folder("ViTForImageClassification")
    with quiet(transformers):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        memory = transformers.ViTForImageClassification.from_pretrained(folder).state_dict()
        kind = kind_of(transformers, config, "hf:x")
        other = {"conv1.weight": torch.zeros(3), "fc.bias": torch.zeros(2)}
        assert in_todays_names(kind, config, memory, checkpoint="w.pt") is memory
        assert in_todays_names(kind, config, other, checkpoint="w.pt") is other
