"""Checkpoints: read the weights, identify them, and write them again with another classifier.

Layouts: those of featurecache.weights_layouts in PyTorch's file (.pt, .pth, .bin and others), and .safetensors. In all
of them every name may begin with "module.", which is taken off and, in a new file, put back.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from featurecache.disk import part_name, replacing
from featurecache.layers import LISTED
from featurecache.quoting import shown
from featurecache.storage import head_digest
from featurecache.weights_file import PREFIX, WeightsFile, is_safetensors, read_weights

_ANOTHER = "checkpoint of another architecture"


def load_state(path: Path, *, ema: bool = False) -> OrderedDict[str, Tensor]:
    """The state dict in a checkpoint, as ``model.load_state_dict`` takes it, on the CPU.

    path: a file in one of the layouts above; nothing in it is ever executed
    ema: the averaged weights (EMA), which some training programs keep beside the plain ones

    Raises FileNotFoundError for a missing file and ValueError, in one line, for one that is refused.
    """
    state = _state(read_weights(Path(path), ema=ema), Path(path))
    state.update({name: value.detach() for name, value in state.items()})  # a file may hold nn.Parameters
    return state


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the weights: equal where names, dtypes, shapes and bits are, in any order, on any device.

    state: a model's state dict; a "module." before every name does not count
    """
    wrapped = bool(state) and all(name.startswith(PREFIX) for name in state)
    sha = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu()
        bare = name.removeprefix(PREFIX) if wrapped else name
        # A JSON list shows where it ends, and this one how many bytes follow: no two states give one stream.
        sha.update(json.dumps([bare, str(value.dtype), list(value.shape)]).encode())
        sha.update(_bytes(value))
    return sha.hexdigest()


def classifier_key(state: Mapping[str, Tensor], shape: tuple[int, int]) -> str:
    """The name of the layer whose weight is (K, D) or (K, D, 1, 1), such as "fc" for "fc.weight".

    state: a state dict
    shape: (K, D)

    Raises ValueError where no layer fits, or two do.
    """
    fitting = _fitting(state, shape)
    if not fitting:
        raise ValueError(f"{_ANOTHER}: it has no weight (K, D) = {shape}")
    if len(fitting) > 1:
        raise ValueError(f"{len(fitting)} weights are (K, D) = {shape}: {_names(fitting)}; name the layer")
    return fitting[0].removesuffix("weight").removesuffix(".")


def replace_in_checkpoint(
    into: Path,
    out: Path,
    *,
    layer: str,
    weight: Tensor,
    bias: Tensor | None,
    expected: str | None = None,
) -> None:
    """Writes the checkpoint again with another classifier; all else in it is kept, bit for bit.

    Keys, their order, nesting, prefix, dtypes, versions and metadata are those of ``into``. The file appears
    under its name when it is whole and on the disk.

    into: the checkpoint to read
    out: the file to write, of the same kind as ``into`` and another file
    layer: the classifier's name, as in ``model.named_modules()``; in the file it may stand behind the names of what the
        model was wrapped in, such as "model.fc"
    weight: (K, D), finite
    bias: (K,), finite, or None for zeros
    expected: digest of the weight and bias that the file must hold now, see featurecache.storage.head_digest: the
        classifier the features belong to

    Where the file holds averaged weights (EMA) beside the plain ones, those are written to that hold the expected
    classifier; the plain ones if both do, or nothing is expected.

    Raises ValueError where the file holds another classifier than expected or has no place for this one.
    """
    into, out = Path(into), Path(out)
    _check_paths(into, out)
    file, new = _replacement(into, layer, weight, bias, expected)
    with replacing(out) as part:
        if is_safetensors(into):
            shutil.copyfile(into, part)
            _patch_safetensors(part, {file.place(name)[1]: value for name, value in new.items()})
        else:
            for name, value in new.items():
                file.put(name, value)
            _save(file.root, part)


def _state(file: WeightsFile, path: Path) -> OrderedDict[str, Tensor]:
    try:
        return file.state()
    except ValueError as error:
        raise ValueError(f"checkpoint {shown(path)}: {error}") from None


def _replacement(
    into: Path, layer: str, weight: Tensor, bias: Tensor | None, expected: str | None
) -> tuple[WeightsFile, dict[str, Tensor]]:
    """The file as it was read, and its new tensors by their names in file.state()."""
    file = read_weights(into)
    try:
        return file, _fitted(file.state(), layer, weight, bias, expected)
    except ValueError as error:
        refusal = ValueError(f"{shown(into)}: {error}")
    try:
        averaged = read_weights(into, ema=True)
        return averaged, _fitted(averaged.state(), layer, weight, bias, expected)
    except ValueError:
        raise refusal from None


def _check_paths(into: Path, out: Path) -> None:
    if is_safetensors(into) != is_safetensors(out):
        raise ValueError(f"{shown(out)} is another kind of file than {shown(into)}: use the same ending")
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"{shown(out)} cannot be written: expected a file's name in an existing folder")
    for target in (out, part_name(out)):
        if target.exists() and into.exists() and os.path.samefile(target, into):
            raise ValueError(f"{shown(out)} would replace the checkpoint itself: give another name")


def _fitted(
    state: Mapping[str, Tensor], layer: str, weight: Tensor, bias: Tensor | None, expected: str | None
) -> dict[str, Tensor]:
    """The new tensors, with the names, shapes and dtypes of the old ones."""
    classes, width = _check_head(weight, bias)
    weight_name, bias_name = _stored_names(state, layer, (classes, width), expected)
    old, old_bias = state[weight_name], state.get(bias_name)
    if tuple(old.shape) not in ((classes, width), (classes, width, 1, 1)):
        raise ValueError(
            f"{_ANOTHER}: {shown(weight_name)} is {tuple(old.shape)}, the head (K, D) = {(classes, width)}"
        )
    if old_bias is not None and tuple(old_bias.shape) != (classes,):
        raise ValueError(f"{_ANOTHER}: {shown(bias_name)} is {tuple(old_bias.shape)}, the head's ({classes},)")
    if old_bias is None and bias is not None and bool(bias.any()):
        raise ValueError(f"layer {shown(layer)} has no bias and the head has one; expected a head without a bias")
    if expected is not None and not _holds(old, old_bias, expected):
        raise ValueError(
            f"layer {shown(layer)} is another classifier than the one the features were extracted with; "
            "expected the checkpoint that the features came from"
        )
    olds = {weight_name: old} if old_bias is None else {weight_name: old, bias_name: old_bias}
    values = {weight_name: weight, bias_name: torch.zeros(classes) if bias is None else bias}
    return {name: _stored_like(state, name, values[name]) for name in olds}


def _stored_names(
    state: Mapping[str, Tensor], layer: str, shape: tuple[int, int], expected: str | None
) -> tuple[str, str]:
    """The names of the layer's weight and bias in the file: its own, or behind the names of wrappers."""
    if f"{layer}.weight" not in state:
        layer = f"{layer}.".removeprefix(PREFIX).removesuffix(".")  # "module" is the wrapped model itself
    weight, bias = (f"{layer}.{end}" if layer else end for end in ("weight", "bias"))
    if weight in state:
        return weight, bias
    behind = [name for name in _fitting(state, shape) if layer and name.endswith(f".{weight}")]
    if len(behind) > 1 and expected is not None:
        behind = [n for n in behind if _holds(state[n], state.get(f"{n.removesuffix('weight')}bias"), expected)]
    if len(behind) > 1:
        raise ValueError(f"{len(behind)} layers could be {shown(layer)}: {_names(behind)}; name the one that is meant")
    if not behind:
        raise ValueError(_absent(state, layer, shape))
    return behind[0], f"{behind[0].removesuffix('weight')}bias"


def _check_head(weight: Tensor, bias: Tensor | None) -> tuple[int, int]:
    """(K, D) of the head."""
    if weight.ndim != 2 or (bias is not None and tuple(bias.shape) != (len(weight),)):
        shapes = tuple(weight.shape), None if bias is None else tuple(bias.shape)
        raise ValueError(f"the head's weight and bias are {shapes[0]} and {shapes[1]}, expected (K, D) and (K,)")
    if not all(bool(torch.isfinite(value).all()) for value in (weight, bias) if value is not None):
        raise ValueError("the head has values that are not finite")
    return weight.shape[0], weight.shape[1]


def _absent(state: Mapping[str, Tensor], layer: str, shape: tuple[int, int]) -> str:
    """Why the layer's weight is not there."""
    computed = [name for name in state if name.startswith((f"{layer}.parametrizations.", f"{layer}.weight_"))]
    if computed:
        return f"layer {shown(layer)} computes its weight from {_names(computed)}; expected a plain weight"
    fitting = _fitting(state, shape)
    where = f"(K, D) = {shape} is the shape of {_names(fitting)}" if fitting else f"no weight is (K, D) = {shape}"
    return f"{_ANOTHER}: it has no layer {shown(layer)}; {where}"


def _holds(old: Tensor, old_bias: Tensor | None, expected: str) -> bool:
    """Whether the stored classifier is the expected one, cast to float32 as a cache holds it."""
    return head_digest(old.flatten(1), old.new_zeros(len(old)) if old_bias is None else old_bias) == expected


def _stored_like(state: Mapping[str, Tensor], name: str, value: Tensor) -> Tensor:
    """The value in the dtype and shape of the tensor that it replaces."""
    old = state[name]
    if not old.is_floating_point():
        raise ValueError(f"{shown(name)} is stored as {old.dtype}, expected floats")
    tied = [other for other, tensor in state.items() if other != name and tensor.data_ptr() == old.data_ptr()]
    if tied and old.numel():
        # Loading such a file into its model writes both names into one parameter.
        raise ValueError(f"{shown(name)} is tied to {_names(tied)}: expected a classifier with weights of its own")
    value = value.detach().cpu()
    limit, largest = torch.finfo(old.dtype).max, float(value.abs().max()) if value.numel() else 0.0
    if largest > limit:
        raise ValueError(f"{shown(name)} is stored as {old.dtype} up to {limit:g}, the head holds {largest:g}")
    cast = value.to(old.dtype).reshape(old.shape).contiguous()
    return torch.nn.Parameter(cast, old.requires_grad) if isinstance(old, torch.nn.Parameter) else cast


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


def _patch_safetensors(path: Path, new: Mapping[str, Tensor]) -> None:
    """Overwrites tensors in place; the file, validated by the library, keeps its header byte for byte."""
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        for name, value in new.items():
            begin, end = header[name]["data_offsets"]
            data = _bytes(value)
            if end - begin != len(data):
                raise ValueError(f"{shown(path)} changed while it was read")
            stream.seek(8 + length + begin)
            stream.write(data)


def _bytes(value: Tensor) -> memoryview:
    return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _fitting(state: Mapping[str, Tensor], shape: tuple[int, int]) -> list[str]:
    """The names of the weights that are (K, D) or (K, D, 1, 1)."""
    return [
        name
        for name, value in state.items()
        if name.rpartition(".")[2] == "weight" and tuple(value.shape) in (shape, (*shape, 1, 1))
    ]


def _names(names: list[str]) -> str:
    return ", ".join(map(shown, names[-LISTED:])) + (" and others" if len(names) > LISTED else "")
