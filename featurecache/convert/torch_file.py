"""PyTorch files: a dictionary of tensors, mapped where the file allows it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featurecache.convert.blocks import flat, table_blocks
from featurecache.convert.columns import Block
from featurecache.disk import open_regular
from featurecache.inert import building_only
from featurecache.layout import shown as shown_path
from featurecache.pickled_calls import check_calls
from featurecache.quoting import shown
from featurecache.weights_file import DTYPES, check_archive, is_held


def matches(path: Path) -> bool:
    """Whether it is a PyTorch file, by its name."""
    return path.suffix.lower() in (".pt", ".pth") and not path.is_dir()


def read(path: Path, names: Mapping[str, str]) -> Iterator[Block]:
    """Blocks of the tensors in a PyTorch file; nothing in it is run.

    path: a dictionary of tensors (and lists of names), or of such dictionaries (train/feats), or one tensor.
    names: our names -> its.
    ValueError when it is damaged, or a tensor in it is not dense or not held in full by the file.
    """
    try:
        root = _load(path)
        columns = {name: _dense(name, value) for name, value in flat(root, path).items()}
    except ValueError as error:
        message = str(error)
        where = shown_path(path)
        raise ValueError(message if message.startswith(where) else f"{where}: {message}") from None
    yield from table_blocks(columns, names, path)


def _load(path: Path) -> Any:
    """The object in the file."""
    with open_regular(path) as file:
        check_archive(file)
        check_calls(file)
        archive = file.read(4) == b"PK\3\4"
        file.seek(0)
        try:
            with warnings.catch_warnings(), building_only(()):
                warnings.simplefilter("ignore")  # about kinds of tensors that are refused below
                # Only a file that is named can be mapped; an older kind, no archive, cannot be at all.
                return torch.load(path if archive else file, map_location="cpu", weights_only=True, mmap=archive)
        except Exception as error:  # a damaged pickle raises anything, in words that recommend to drop the protection
            asked = re.search(r"GLOBAL (\S+)", str(error))
            if asked:
                raise ValueError(
                    f"it asks for {shown(asked[1])}, and only tensors, texts, numbers and dictionaries of them are "
                    "read; nothing was run: save tensors alone, torch.save({'features': …, 'labels': …}, file)"
                ) from None
            raise ValueError(f"no PyTorch file, or a damaged one ({type(error).__name__})") from None


def _dense(name: str, value: Any) -> Any:
    """The tensor without its gradient, or the list; ValueError for one that is not plain numbers in the file."""
    if not isinstance(value, Tensor):
        return value
    plain = value.layout == torch.strided and not value.is_quantized and value.device.type == "cpu"
    if not plain or value.dtype not in DTYPES:
        kind = f"{value.layout} {value.dtype} on {value.device}".replace("torch.", "")
        raise ValueError(f"tensor {shown(name)} is {kind}; expected a dense tensor of floats or integers")
    # The class's own methods, for an object of a stranger's may have others in their place.
    value = Tensor.detach(value)
    if value.is_neg() or (value.numel() and not is_held(value)):
        raise ValueError(f"tensor {shown(name)} {tuple(value.shape)} is larger than the bytes stored for it, or a view")
    return value
