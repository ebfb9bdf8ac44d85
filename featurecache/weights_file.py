"""Weights from files that strangers made: read without running anything, checked before they are used.

PyTorch's files are pickles. They are read with ``weights_only=True``, which builds tensors and plain
containers only; there is no way to turn that off here. What else an honest training file holds, its options and
figures, is kept and never built (see inert.py). PyTorch still accepts what no honest checkpoint holds
(compressed archives that inflate without bound, tensors larger than their storage, sparse and quantized
ones), so that is refused here.
"""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load_file
from torch import Tensor

from featurecache.inert import INERT, building_only
from featurecache.pickled_calls import check_calls
from featurecache.quoting import shown
from featurecache.weights_layouts import PLAIN, SCALES, fold_scales, located

PREFIX = "module."  # what DataParallel and DistributedDataParallel put before every name
ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".tar")  # of weights files
COUNTER = "n_averaged"  # beside the names of torch.optim.swa_utils.AveragedModel

DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.bool),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
}


@dataclass(frozen=True, eq=False)
class Part:
    """A state dict inside a weights file.

    entries: with the names of the file; a part of the file's object
    prefix: what every name begins with and a model's names do not: "module." or nothing
    """

    entries: dict[str, Tensor]
    prefix: str

    def state(self) -> OrderedDict[str, Tensor]:
        """A new state dict without the prefix, with the versions (``_metadata``) PyTorch keeps beside it."""
        cut = len(self.prefix)
        state = OrderedDict((name[cut:], value) for name, value in self.entries.items() if name.startswith(self.prefix))
        versions = getattr(self.entries, "_metadata", None)
        if versions is not None:
            # Beside "" (the wrapper) stand "module" (the model) and "module.fc" (its layers).
            wrapper, lead = self.prefix.removesuffix("."), self.prefix
            vars(state)["_metadata"] = OrderedDict(
                (name.removeprefix(lead) if name != wrapper else "", value) for name, value in versions.items()
            )
        return state


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """A weights file in memory.

    root: the object as it lies in the file; for safetensors the state dict itself
    parts: the state dict inside it, or the two of the paper's files
    """

    root: dict[Any, Any]
    parts: tuple[Part, ...]

    def state(self) -> OrderedDict[str, Tensor]:
        """A new state dict of all parts, with a model's names; the paper's scales are multiplied in."""
        state, *others = (part.state() for part in self.parts)
        for other in others:
            state.update(other)
            vars(state).setdefault("_metadata", OrderedDict()).update(getattr(other, "_metadata", {}))
        if others:
            fold_scales(state)
        return state

    def holds(self, name: str) -> bool:
        """Whether a tensor of state() is in this file."""
        return any(part.prefix + name in part.entries for part in self.parts)

    def place(self, name: str) -> tuple[dict[str, Tensor], str]:
        """The dictionary in the file that holds a tensor, and the tensor's name there.

        name: as in state()
        """
        holding = next(part for part in self.parts if part.prefix + name in part.entries)
        return holding.entries, holding.prefix + name

    def put(self, name: str, value: Tensor) -> None:
        """Replaces a tensor in the file's object; the paper's scales become ones, for they are multiplied in already.

        name: as in state()
        """
        entries, stored = self.place(name)
        entries[stored] = value
        scales = stored.removesuffix(name) + SCALES
        if len(self.parts) > 1 and scales in entries:
            entries[scales] = torch.ones_like(entries[scales])


def is_safetensors(path: Path) -> bool:
    """Whether the file is safetensors by its name; every other name is PyTorch's (.pt, .pth, .bin, .tar)."""
    return path.suffix.lower() == ".safetensors"


def read_weights(path: Path, *, ema: bool = False) -> WeightsFile:
    """The weights in a file, checked: real tensors, finite, no larger than what the file holds.

    path: .safetensors, or a PyTorch file in one of the layouts of weights_layouts.py
    ema: the averaged weights, where the file has them beside the plain ones

    Raises FileNotFoundError for a missing file and ValueError, in one line, for whatever else is wrong with
    it.
    """
    if not path.exists():
        raise FileNotFoundError(f"checkpoint {shown(path)} does not exist")
    if not path.is_file():
        raise ValueError(f"checkpoint {shown(path)} is not a regular file")
    try:
        root = _read_safetensors(path) if is_safetensors(path) else _read_pickle(path)
        _check_attributes(root)
        return WeightsFile(root, tuple(map(_part, located(root, ema=ema))))
    except ValueError as error:
        raise ValueError(f"checkpoint {shown(path)}: {error}") from None


def _part(entries: dict[Any, Any]) -> Part:
    """A state dict, checked, and its prefix."""
    if not entries:
        raise ValueError("it holds no tensors")
    _check_attributes(entries)
    for name, value in entries.items():
        _check_entry(name, value)
    wrapped = entries.keys() != {COUNTER} and all(name.startswith(PREFIX) or name == COUNTER for name in entries)
    return Part(entries, PREFIX if wrapped else "")


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path))
    except Exception as error:  # the library raises its own type, KeyError, OSError, UnicodeDecodeError ...
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"not a safetensors file, or a damaged one ({reason})") from None


def _read_pickle(path: Path) -> dict[Any, Any]:
    """The object in a PyTorch file, a dictionary of plain types and tensors."""
    with path.open("rb") as stream:
        check_archive(stream)
        check_calls(stream)
        try:
            with warnings.catch_warnings(), building_only(INERT):
                warnings.simplefilter("ignore")  # about tensor kinds that are refused below
                root = torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged pickle raises anything
            raise ValueError(_refusal(error)) from None
    if not isinstance(root, dict):
        raise ValueError(f"it holds a {type(root).__name__[:80]}, expected a state dict")
    return root


def _refusal(error: Exception) -> str:
    """Why PyTorch refused a file; never its own words, which recommend to load it without protection."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked:
        return (
            f"its pickle asks for {shown(asked[1])}, and only tensors, plain containers, NumPy arrays and "
            "argparse.Namespace are read; "
            "save the state dict alone (torch.save(model.state_dict(), file)) or as .safetensors"
        )
    return f"not a PyTorch checkpoint, or a damaged one ({type(error).__name__}); expected a saved state dict"


def check_archive(stream: BinaryIO) -> None:
    """Refuse a zip archive that PyTorch would not have written; leaves the stream at its beginning."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    is_zip = stream.read(4) == b"PK\x03\x04"
    stream.seek(0)
    if not is_zip:
        return
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
    except Exception as error:  # BadZipFile, struct.error, UnicodeDecodeError, NotImplementedError ...
        raise ValueError(f"a damaged or truncated zip archive ({type(error).__name__})") from None
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise ValueError("it is a TorchScript program, expected a state dict (torch.save(model.state_dict(), file))")
    for member in members:
        parts = member.filename.split("/")
        if "\\" in member.orig_filename or "\0" in member.orig_filename or not {"", ".", ".."}.isdisjoint(parts):
            raise ValueError(f"its archive has a member {shown(member.orig_filename)}, expected plain names")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError(f"its archive member {shown(member.filename)} is compressed; PyTorch stores them plain")
    if len({member.filename for member in members}) != len(members):
        raise ValueError("its archive has two members of one name")
    if sum(member.file_size for member in members) > size:
        raise ValueError("its archive claims more bytes than the file has")
    stream.seek(0)


def _check_attributes(holder: dict[Any, Any]) -> None:
    """Refuse a dictionary with attributes in place of its methods; PyTorch sets only the versions."""
    attributes: dict[str, Any] = getattr(holder, "__dict__", {})
    versions = attributes.get("_metadata", {})
    honest = type(versions) in (dict, OrderedDict) and all(
        isinstance(name, str) and isinstance(value, dict) for name, value in dict.items(versions)
    )
    if attributes.keys() - {"_metadata"} or not honest:
        raise ValueError("its state dict has attributes that PyTorch would not have written")


def _check_entry(name: object, value: object) -> None:
    """Refuse what is not a dense, finite tensor held in full by its storage."""
    if not isinstance(name, str):
        raise ValueError(f"it has a key of type {type(name).__name__[:80]}, expected the names of tensors")
    if not isinstance(value, Tensor):
        raise ValueError(
            f"entry {shown(name)} is a {type(value).__name__[:80]}, expected a tensor: a state dict, "
            f"or one under {' or '.join(map(repr, PLAIN))}"
        )
    if value.layout != torch.strided or value.is_quantized or value.dtype not in DTYPES:
        kind = "quantized" if value.is_quantized else f"{value.layout} {value.dtype}".replace("torch.", "")
        raise ValueError(f"tensor {shown(name)} is {kind}, expected a dense tensor of floats or integers")
    if value.device.type != "cpu":
        raise ValueError(f"tensor {shown(name)} has no values (device {value.device}), expected stored values")
    if value.numel() and not is_held(value):
        raise ValueError(f"tensor {shown(name)} {tuple(value.shape)} is larger than the bytes stored for it")
    if value.is_floating_point() and not bool(torch.isfinite(_widened(value)).all()):
        raise ValueError(f"tensor {shown(name)} has values that are not finite")


def is_held(value: Tensor) -> bool:
    """Whether the storage has a place for every element, and none is claimed from beyond its end."""
    last = value.storage_offset() + sum((n - 1) * step for n, step in zip(value.shape, value.stride(), strict=True))
    return max(value.numel(), last + 1) * value.itemsize <= value.untyped_storage().nbytes()


def _widened(value: Tensor) -> Tensor:
    """The values in a dtype that every operation knows; one-byte floats become float32."""
    return value.float() if value.itemsize == 1 else value
