"""Batches to the device and results back: the same numbers, when they have arrived."""

from __future__ import annotations

import pytest
import torch

from featurecache.extraction.forward import Output
from featurecache.extraction.staging import Download, Upload, arrived

DEVICES = [
    pytest.param(torch.device("cpu"), id="cpu"),
    pytest.param(torch.device("cuda"), id="cuda", marks=pytest.mark.cuda),
]


@pytest.mark.parametrize("device", DEVICES)
def test_what_goes_up_is_what_was_sent(device: torch.device) -> None:
    images = torch.randn(2, 3, 4, 4)
    there, event = Upload(device, channels_last=True)({"x": images, "text": "a"})
    arrived(there, event, device)
    assert there["x"].device.type == device.type
    assert there["x"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(there["x"].cpu(), images)
    assert there["text"] == "a"
    assert (event is None) == (device.type == "cpu")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_comes_down_is_float32_and_whole(device: torch.device, logits: bool, dtype: torch.dtype) -> None:
    values = torch.randn(5, 7, device=device).to(dtype)
    down = Download.of(Output(values.T.T, values + 1 if logits else None))
    down.wait()
    assert down.features.dtype == torch.float32
    assert down.features.device.type == "cpu"
    assert torch.equal(down.features, values.float().cpu())
    assert (down.logits is not None) == logits
    if down.logits is not None:
        assert torch.equal(down.logits, (values + 1).float().cpu())
