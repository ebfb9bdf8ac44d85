"""The devices that PyTorch can compute on."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator

import torch

from featurecache.checkup.finding import Finding, failed, one_line, passed, warned

PATIENCE = 10.0  # seconds for nvidia-smi
NAME = "device"


def devices() -> Iterator[Finding]:
    """Every CUDA device, tried; else why there is none."""
    with warnings.catch_warnings(record=True) as said:  # PyTorch warns of a driver that is too old, and says no
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if there:
        yield from map(_tried, range(torch.cuda.device_count()))
    else:
        yield _none(said[-1].message if said else None)


def _tried(number: int) -> Finding:
    name = f"cuda:{number}"
    properties = torch.cuda.get_device_properties(number)
    described = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    try:
        ones = torch.ones(64, 64, device=name)
        right = bool((ones @ ones == 64).all().item())
    except RuntimeError as error:
        return failed(
            name,
            f"{described}: {one_line(error)}",
            "install a build of PyTorch for this card, free its memory, or run with --device cpu",
        )
    if not right:
        return failed(name, f"{described}: ones times ones is not 64", "do not use this card; run with --device cpu")
    return passed(name, described)


def _none(complaint: object) -> Finding:
    driver = _driver()
    if driver is None:
        return passed(NAME, "cpu; no NVIDIA driver here")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return warned(
            NAME, f"cpu; {driver}, hidden by CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES to use the GPU"
        )
    if torch.version.cuda is None:
        return warned(
            NAME,
            f"cpu; {driver}, but torch {torch.__version__} is built without CUDA",
            "install the CUDA build of PyTorch (pytorch.org says which) to use the GPU",
        )
    reason = one_line(complaint) if complaint is not None else _refusal()
    return warned(
        NAME,
        f"cpu; {driver}, but torch {torch.__version__} for CUDA {torch.version.cuda} cannot use it: {reason}",
        "update the NVIDIA driver, or install a build of PyTorch for an older CUDA; in a container pass the GPU on",
    )


def _driver() -> str | None:
    """What nvidia-smi says in a few words; None where there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    asked = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        run = subprocess.run(asked, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi does not answer ({one_line(error)})"
    lines = (run.stdout if run.returncode == 0 else run.stdout + run.stderr).split("\n")
    first = one_line(next((line for line in lines if line.strip()), "nothing"))
    return f"nvidia-smi sees {first}" if run.returncode == 0 else f"nvidia-smi says {first}"


def _refusal() -> str:
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return one_line(error)
    return "it says no reason"
