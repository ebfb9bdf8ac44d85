"""What was measured on: the device, its driver and clocks, and the versions."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = ("featurecache-rebalance", "torch", "triton", "numpy", "scipy", "scikit-learn", "h5py", "timm", "pytest")
ASKED = (
    *("driver_version", "pstate", "clocks.sm", "clocks.max.sm", "clocks.mem", "clocks.max.mem"),
    *("temperature.gpu", "power.draw", "power.limit", "utilization.gpu"),
)
PATIENCE = 10.0  # seconds for nvidia-smi


def described(device: torch.device) -> dict[str, Any]:
    """The device and the versions, by name. device: CUDA's, or the CPU."""
    found: dict[str, Any] = {
        "device": device.type,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
    }
    if device.type != "cuda":
        return found
    properties = torch.cuda.get_device_properties(device)
    return found | {
        "device": properties.name,
        "devices": torch.cuda.device_count(),
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory": properties.total_memory,
        "cudnn": torch.backends.cudnn.version(),
        "bfloat16": torch.cuda.is_bf16_supported(),
    }


def clocks(device: torch.device) -> dict[str, str]:
    """Driver, clocks (MHz), temperature (°C) and power (W) now, as nvidia-smi says them; {} where it does not."""
    program = shutil.which("nvidia-smi")
    if program is None or device.type != "cuda":
        return {}
    asked = [program, f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader,nounits", f"--id={_identity(device)}"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return parsed(answer)


def parsed(answer: str) -> dict[str, str]:
    """A line of nvidia-smi by what was asked; {} where it is another."""
    values = [value.strip() for value in answer.strip().splitlines()[0].split(",")] if answer.strip() else []
    return dict(zip(ASKED, values, strict=True)) if len(values) == len(ASKED) else {}


def _identity(device: torch.device) -> str:
    """By which nvidia-smi knows the device: its numbers are not PyTorch's where some devices are hidden."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
