"""A weights file with some of its tensors replaced: everything else in it stays as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from featurecache.exporting.copying import copy_file
from featurecache.quoting import shown
from featurecache.weights_file import WeightsFile, is_safetensors


def rewrite(source: Path, file: WeightsFile, new: Mapping[str, Tensor], target: Path) -> None:
    """Writes a weights file with other tensors; what is there is written over.

    source: the file, whose name tells its kind.
    file: what was read from it; the new tensors are put into it where it is PyTorch's.
    new: by their names in file.state(), each in the dtype and shape of the old one.
    target: the name to write to.
    Raises OSError when it cannot be written, ValueError when the source is not any more what was read.
    """
    if is_safetensors(source):
        copy_file(source, target)
        _patch(target, {file.place(name)[1]: value for name, value in new.items()}, source)
        return
    for name, value in new.items():
        file.put(name, value)
    _save(file.root, target)


def _save(root: object, path: Path) -> None:
    """Writes a PyTorch file; OSError where the disk is full."""
    with path.open("wb") as stream:  # not by path: PyTorch would write the temporary name into the file
        try:
            torch.save(root, stream)
        except RuntimeError as error:  # about positions in its archive, raised after the write's own error
            cause = error.__context__
            if isinstance(cause, OSError):
                raise OSError(cause.errno, cause.strerror, str(path)) from None
            raise


def _patch(path: Path, new: Mapping[str, Tensor], source: Path) -> None:
    """Overwrites tensors in place; the file, validated by the library, keeps its header byte for byte."""
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        for name, value in new.items():
            begin, end = header[name]["data_offsets"]
            data = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
            if end - begin != len(data):
                raise ValueError(f"{shown(source)} changed while it was read")
            stream.seek(8 + length + begin)
            stream.write(data)
