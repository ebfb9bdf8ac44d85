"""Heads in files of other people's making: read without running anything, and written as a weight and a bias."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featurecache import disk
from featurecache.convert.heads.archive import Archive
from featurecache.convert.heads.labels import check_labels, row_order
from featurecache.convert.heads.naming import CLASSES, check_pair, find_pair, is_known, is_of_sklearn, matrix_shape
from featurecache.layout import shown as shown_path
from featurecache.quoting import shown
from featurecache.weights_file import read_weights

READ = {
    ".npz": "a .npz file",
    **dict.fromkeys((".pt", ".pth", ".bin"), "a PyTorch file"),
    ".safetensors": "a .safetensors file",
}
WRITTEN = (".npz", ".pt", ".pth")


@dataclass(frozen=True, eq=False)
class ForeignHead:
    """A classifier from a foreign file.

    weight: (K, D) float32. bias: (K,) float32, zeros where the file has none.
    class_names: K names, if the file or the user says them.
    arrays: weight and bias -> what the file calls them. usage: what the file was taken for.
    notes: what was done with them that the numbers alone do not say, a sentence each.
    """

    weight: Tensor
    bias: Tensor
    class_names: tuple[str, ...] | None
    arrays: Mapping[str, str | None]
    usage: str
    notes: tuple[str, ...]


def read_head(
    source: str | os.PathLike[str],
    *,
    names: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
) -> ForeignHead:
    """The classifier in a file of arrays, an nn.Linear's or scikit-learn's coef_ and intercept_; nothing in it is run.

    A weight of one row is of the one logit z that tells two classes apart: it becomes two rows with the logits 0 and
    z, whose softmax is the sigmoid of z, as scikit-learn has it.

    source: .npz, .pt, .pth, .bin or .safetensors. names: weight and bias -> the file's names of them; what is not named
        is recognised. class_names: K names in the order of the class ids.
    FileNotFoundError when it is not there; ValueError, in one line, when it is damaged, holds no classifier or more
    than one, or numbers that are not finite in float32.
    """
    path = Path(source)
    usage = READ.get(path.suffix.lower())
    if not path.exists():
        raise FileNotFoundError(f"{shown_path(path)} does not exist")
    if not path.is_file():
        raise ValueError(f"{shown_path(path)} is not a regular file; expected one of {', '.join(READ)}")
    if usage is None:
        raise ValueError(
            f"{shown_path(path)} is no file that heads are read from; expected one of {', '.join(READ)}: save the "
            "arrays alone: np.savez('head.npz', coef_=m.coef_, intercept_=m.intercept_, classes_=m.classes_)"
        )
    try:
        shapes, read = _arrays(path, names or {})
        weight_name, bias_name = find_pair(shapes, names or {})
        return _head(shapes, read, (weight_name, bias_name), class_names, usage)
    except ValueError as error:
        message = str(error)
        raise ValueError(message if str(path) in message else f"{shown_path(path)}: {message}") from None


def write_head(target: str | os.PathLike[str], weight: Tensor, bias: Tensor) -> None:
    """Write a weight and a bias, whole or not at all: np.load's arrays, or the state dict of an nn.Linear.

    target: .npz, .pt or .pth, a file that is not there. weight: (K, D). bias: (K,).
    ValueError when it has another ending or is there.
    """
    path, stream = Path(target), io.BytesIO()
    if path.suffix.lower() not in WRITTEN:
        raise ValueError(f"{shown_path(path)}: expected a name that ends in one of {', '.join(WRITTEN)}")
    if os.path.lexists(path):
        raise ValueError(f"{shown_path(path)} exists already; name a new file")
    state = {"weight": weight.detach().cpu().contiguous(), "bias": bias.detach().cpu().contiguous()}
    if path.suffix.lower() == ".npz":
        np.savez(stream, weight=state["weight"].numpy(), bias=state["bias"].numpy())
    else:
        torch.save(state, stream)
    disk.write_bytes(path, stream.getvalue())


def _arrays(
    path: Path, names: Mapping[str, str]
) -> tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor | NDArray[Any]]]:
    """The shapes of a file's arrays, and how to read one; ValueError when it holds some that cannot be read."""
    if path.suffix.lower() != ".npz":
        state = read_weights(path).state()
        return {name: tuple(value.shape) for name, value in state.items()}, lambda name: state[name].detach()
    archive = Archive(path)
    for name in archive.unreadable:
        if is_known(name) or name in names.values():
            archive.read(name)  # says why it cannot be
    return archive.shapes | dict.fromkeys(archive.unreadable, ()), archive.read


def _head(
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], Tensor | NDArray[Any]],
    pair: tuple[str, str | None],
    class_names: Sequence[str] | None,
    usage: str,
) -> ForeignHead:
    weight_name, bias_name = pair
    shape = matrix_shape(weight_name, shapes)
    check_pair(shape, None if bias_name is None else shapes[bias_name])
    weight = _numbers(weight_name, read(weight_name)).reshape(shape)
    bias = None if bias_name is None else _numbers(bias_name, read(bias_name))
    notes = [] if bias is not None else ["It has no bias: zeros."]
    bias = weight.new_zeros(len(weight)) if bias is None else bias.expand(len(weight))
    if len(weight) == 1:
        weight, bias = (torch.cat([torch.zeros_like(value), value]) for value in (weight, bias))
        notes.append("Its one row tells two classes apart: logits 0 and z, whose softmax is the sigmoid of z.")
    elif is_of_sklearn(weight_name):
        notes.append(
            "Its probabilities are scikit-learn's if it was fitted as one multinomial model; its decisions are always."
        )
    wanted = None if class_names is None else tuple(class_names)
    if wanted is not None and len(wanted) != len(weight):
        raise ValueError(f"it has {len(weight)} classes and there are {len(wanted)} class names")
    if CLASSES in shapes:
        check_labels(shapes[CLASSES], len(weight))
        order, wanted = row_order(np.asarray(read(CLASSES)), wanted)
        if order != sorted(order):
            notes.append("Its rows were put in the order of the class ids.")
        weight, bias = weight[order], bias[order]
    arrays = dict(zip(("weight", "bias"), pair, strict=True))
    return ForeignHead(weight.contiguous(), bias.contiguous(), wanted, arrays, usage, tuple(notes))


def _numbers(name: str, values: Tensor | NDArray[Any]) -> Tensor:
    """The values in float32; ValueError unless they are real numbers, finite and within its range."""
    if isinstance(values, Tensor):
        if values.dtype == torch.bool or values.is_complex():
            raise ValueError(f"array {shown(name)} is {values.dtype}; expected real numbers")
        exact = values.double()
    else:
        if values.dtype.kind not in "fiu":
            raise ValueError(f"array {shown(name)} is {values.dtype}; expected real numbers")
        exact = torch.from_numpy(values.astype(np.float64))
    if not bool(torch.isfinite(exact).all()):
        raise ValueError(f"array {shown(name)} holds NaN or infinity; expected finite numbers")
    cast = exact.float()
    if not bool(torch.isfinite(cast).all()):
        raise ValueError(f"array {shown(name)} holds {float(exact.abs().max()):g}, beyond float32, a head's numbers")
    return cast
