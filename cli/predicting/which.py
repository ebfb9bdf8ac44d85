"""What HEAD|CHECKPOINT means: a word, a head's file, a program or the weights of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

JOINT = "joint"
PROGRAMS = (".pt2", ".onnx")


def which(name: str) -> Literal["joint", "head", "program", "checkpoint"]:
    """What is meant by a name; a file of that name that is not there is a checkpoint.

    A safetensors file with a tensor called just `weight` is a head, for a model's tensors are called after its layers.
    """
    from safetensors import SafetensorError, safe_open

    if name == JOINT:
        return "joint"
    path = Path(name)
    if path.suffix.lower() in PROGRAMS:
        return "program"
    if not path.is_file():
        return "checkpoint"
    try:
        with safe_open(path, framework="np") as file:
            return "head" if "weight" in file.keys() else "checkpoint"  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError):
        return "checkpoint"
