"""What is said of the device where there is a driver, a PyTorch without CUDA, or a card that does not compute."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from featurecache.checkup.device import devices
from featurecache.checkup.finding import Finding

Smi = Callable[[str], None]


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch sees no device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Smi:
    """Puts an nvidia-smi of these shell commands on PATH."""

    def put(commands: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{commands}\n", "utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return put


def only() -> Finding:
    """The one finding."""
    (found,) = devices()
    return found


@pytest.mark.usefixtures("no_cuda")
def test_a_machine_without_a_driver_is_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert only().status == "PASS"


@pytest.mark.usefixtures("no_cuda")
def test_a_card_beside_a_pytorch_without_cuda(smi: Smi, monkeypatch: pytest.MonkeyPatch) -> None:
    smi("echo 'NVIDIA H200, 570.1'")
    monkeypatch.setattr(torch.version, "cuda", None)
    found = only()
    assert found.status == "WARN"
    assert "NVIDIA H200, 570.1" in found.said
    assert "built without CUDA" in found.said
    assert "CUDA build of PyTorch" in found.mend


@pytest.mark.usefixtures("no_cuda")
def test_a_hidden_card(smi: Smi, monkeypatch: pytest.MonkeyPatch) -> None:
    smi("echo 'NVIDIA H200, 570.1'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "unset CUDA_VISIBLE_DEVICES" in only().mend


def test_a_driver_that_is_too_old_is_quoted(smi: Smi, monkeypatch: pytest.MonkeyPatch) -> None:
    def available() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old", UserWarning, stacklevel=1)
        return False

    smi("echo 'Old card, 1.0'")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", available)
    found = only()
    assert found.status == "WARN"
    assert "CUDA 13.0" in found.said
    assert "too old" in found.said
    assert "update the NVIDIA driver" in found.mend


@pytest.mark.usefixtures("no_cuda")
def test_a_driver_that_answers_with_an_error(smi: Smi, monkeypatch: pytest.MonkeyPatch) -> None:
    smi("echo 'NVIDIA-SMI has failed'; exit 9")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    found = only()
    assert found.status == "WARN"
    assert "nvidia-smi says NVIDIA-SMI has failed" in found.said


def test_a_card_that_this_pytorch_cannot_use_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        name, total_memory = "Very new card", 2**34

    def ones(*_shape: int, device: str) -> torch.Tensor:
        raise RuntimeError(f"no kernel image for {device}")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _number: Properties)
    monkeypatch.setattr(torch, "ones", ones)
    found = only()
    assert (found.name, found.status) == ("cuda:0", "FAIL")
    assert "Very new card, 16 GiB" in found.said
    assert "no kernel image for cuda:0" in found.said


@pytest.mark.cuda
def test_a_real_card_is_tried() -> None:
    assert [each.status for each in devices()] == ["PASS"] * torch.cuda.device_count()
