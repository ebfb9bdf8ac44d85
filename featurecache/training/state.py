"""The file that an unfinished training goes on from: everything that decides what comes next, after a whole epoch.

It is a PyTorch file of tensors and plain containers, written whole or not at all, and read like any stranger's
weights: nothing in it is ever executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featurecache.disk import open_regular, replacing
from featurecache.inert import building_only
from featurecache.pickled_calls import check_calls
from featurecache.quoting import shown
from featurecache.weights_file import check_archive, is_held

FORMAT = 1


def write_state(path: Path, run: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Writes the file.

    run: what the training is, plain JSON; the file is of use to no other.
    values: plain containers of tensors and numbers.
    Raises ValueError when `run` is not JSON, OSError when the disk is full.
    """
    try:
        text = json.dumps(dict(run), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"training {shown(path)}: what it is, is not plain JSON: {error}") from None
    with replacing(path) as part, part.open("wb") as stream:
        try:
            torch.save({"format": FORMAT, "run": text, **values}, stream)
        except RuntimeError as error:  # about positions in its archive, raised after the write's own error
            cause = error.__context__
            if isinstance(cause, OSError):
                raise OSError(cause.errno, cause.strerror, str(path)) from None
            raise


def read_state(path: Path, run: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `write_state` was given.

    run: of this training; refused when the file is of another. None: not compared.
    Raises ValueError, in one line, for a file that is damaged, of another program or of another training.
    """
    try:
        with open_regular(path) as stream:
            check_archive(stream)
            check_calls(stream)
            with building_only(()):
                found = torch.load(stream, map_location="cpu", weights_only=True)
        written = json.loads(found["run"])
        usable = found["format"] == FORMAT and isinstance(written, dict) and _honest(found)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise ValueError(_damaged(path, type(error).__name__)) from None
    if not usable:
        raise ValueError(_damaged(path, "unknown format"))
    if run is not None:
        _compare(path, written, json.loads(json.dumps(dict(run))))
    return {name: value for name, value in found.items() if name not in ("format", "run")}


def _damaged(path: Path, why: str) -> str:
    return f"{shown(path)} is no state of a training, or a damaged one ({why}); remove it to begin anew"


def _compare(path: Path, written: dict[str, Any], run: dict[str, Any]) -> None:
    for key in sorted({*written, *run}):
        if written.get(key) != run.get(key):
            raise ValueError(
                f"{shown(path)} is of another training: {shown(key)} was {written.get(key)!r:.120}, "
                f"now it is {run.get(key)!r:.120}; give the same options again to go on, or remove the file to begin "
                "anew"
            )


def _honest(value: object) -> bool:
    """Whether all tensors within are plain ones that the file holds in full."""
    met: set[int] = set()  # lists that hold one another many times over are looked at once
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Tensor):
            plain = each.layout == torch.strided and not each.is_quantized and each.device.type == "cpu"
            if not (plain and (not each.numel() or is_held(each))):
                return False
        elif isinstance(each, Mapping | list | tuple) and id(each) not in met:
            met.add(id(each))
            waiting += each.values() if isinstance(each, Mapping) else each
    return True
