"""The last bits: plain JSON, and threads that come back."""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

import pytest
import torch

from featurecache.extraction.surroundings import same_threads, surroundings


def test_the_surroundings_are_plain_json() -> None:
    found = surroundings(torch.device("cpu"), 7)
    assert (found["device"], found["threads"], found["seed"]) == ("cpu", torch.get_num_threads(), 7)
    assert {name: importlib.metadata.version(name) for name in found["versions"]} == found["versions"]
    assert {"torch", "numpy"} <= set(found["versions"])
    assert json.loads(json.dumps(found)) == found
    assert surroundings(torch.device("cpu"), 7) == found
    assert surroundings(torch.device("cpu"), 7, compile=True) == found | {"compile": True}


@pytest.mark.cuda
def test_a_gpu_is_called_by_its_name() -> None:
    assert surroundings(torch.device("cuda"), 0)["device"] == torch.cuda.get_device_name()


def test_threads_are_those_of_the_extraction_and_come_back() -> None:
    before = torch.get_num_threads()
    with same_threads({"threads": before + 1}):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), same_threads({"threads": before + 2}):
        _ = 1 / 0
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [None, 0, -1, "2", 2.0, True, 10**9, [2]])
def test_threads_that_are_none_are_not_believed(threads: Any) -> None:
    before = torch.get_num_threads()
    with same_threads({"threads": threads}):
        assert torch.get_num_threads() == before
    with same_threads(None):
        assert torch.get_num_threads() == before
