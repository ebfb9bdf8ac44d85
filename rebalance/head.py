"""The head: a frozen classifier with two verbs, ``head(features) -> logits`` and ``head.to_module()``.

Nearly every method ends in a weight and a bias: a :class:`LinearHead`. One that first centres the features and
scales each row to length one is a :class:`NormalizedHead`. A head is saved as a safetensors file whose tensors are
the state dict of :meth:`to_module`, so nobody needs this package to load it; how it came to be lies in the file's
metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rebalance.blocks import Features, blocks, width


@dataclass(frozen=True, eq=False)
class LinearHead:
    """An affine classifier: ``logits = features @ weight.T + bias``.

    weight: (K, D), one row a class.
    bias: (K,); None means zeros.
    record: how the head came to be (method, hyperparameters, what it was fitted and tuned on), plain JSON values.

    ValueError when the shapes do not fit or a number is not finite.
    """

    weight: Tensor
    bias: Tensor = None  # type: ignore[assignment]  # None is accepted and becomes zeros
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        weight = _own("weight", self.weight)
        if weight.ndim != 2 or 0 in weight.shape:
            raise ValueError(f"head weight has shape {tuple(weight.shape)}; expected (K, D)")
        bias = weight.new_zeros(len(weight)) if self.bias is None else _own("bias", self.bias).to(weight.device)
        if bias.shape != (len(weight),):
            raise ValueError(f"head bias has shape {tuple(bias.shape)}; expected ({len(weight)},), one number a class")
        for name, tensor in (("weight", weight), ("bias", bias)):
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"head {name} holds NaN or infinity; expected finite numbers")
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)
        object.__setattr__(self, "record", dict(self.record))

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.weight)

    @property
    def width(self) -> int:
        """D, the width of the features it takes."""
        return int(self.weight.shape[1])

    def __call__(self, features: Features) -> Tensor:
        """The logits (N, K) in float32 on the head's device, computed in blocks.

        features: (N, D); ValueError when D is not the head's width.
        """
        if width(features) != self.width:
            raise ValueError(
                f"features are {width(features)} wide, the head takes {self.width}: "
                "they come from different models; use the head with features of its own model"
            )
        logits = self.weight.new_empty((len(features), self.num_classes))
        for part, block in blocks(features, device=self.weight.device):
            logits[part] = self._logits(block)
        return logits

    def _logits(self, block: Tensor) -> Tensor:
        return torch.addmm(self.bias, block, self.weight.T)

    def to(self, device: torch.device | str) -> Self:
        """The same head on another device."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return replace(self, **moved)

    def with_record(self, **entries: Any) -> Self:
        """The same head whose record also holds these entries."""
        return replace(self, record={**self.record, **entries})

    def tensors(self) -> dict[str, Tensor]:
        """What is saved: the tensors by name, those of an ``nn.Linear``."""
        return {"weight": self.weight, "bias": self.bias}

    def to_module(self) -> nn.Module:
        """An ``nn.Linear`` that computes the same logits."""
        linear = nn.Linear(self.width, self.num_classes, device=self.weight.device, dtype=self.weight.dtype)
        linear.load_state_dict({"weight": self.weight, "bias": self.bias})
        return linear

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the head as a safetensors file, under a temporary name that is renamed when the file is whole."""
        path = Path(path)
        if path.is_dir() or not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: cannot be written; expected a file's name in a folder that is there")
        metadata = {key: json.dumps(value) for key, value in self.record.items()}
        metadata |= {"format": "rebalance.head", "type": _NAMES[type(self)]}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors().items()}
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with temporary.open("wb") as file:
                file.write(save(tensors, metadata=metadata))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class NormalizedHead(LinearHead):
    """A classifier of directions: ``x' = (x - center) / |x - center|``, ``logits = x' @ weight.T + bias``.

    center: (D,), subtracted before the rows are scaled to length one; None means zeros.
    """

    center: Tensor = None  # type: ignore[assignment]  # None is accepted and becomes zeros

    def __post_init__(self) -> None:
        super().__post_init__()
        center = (
            self.weight.new_zeros(self.width)
            if self.center is None
            else _own("center", self.center).to(self.weight.device)
        )
        if center.shape != (self.width,) or not bool(torch.isfinite(center).all()):
            raise ValueError(f"head center has shape {tuple(center.shape)}; expected ({self.width},), finite")
        object.__setattr__(self, "center", center)

    def _logits(self, block: Tensor) -> Tensor:
        return torch.addmm(self.bias, normalize(block - self.center), self.weight.T)

    def tensors(self) -> dict[str, Tensor]:
        return {**super().tensors(), "center": self.center}

    def to_module(self) -> nn.Module:
        """A module with buffers and parameters ``weight, bias, center`` that computes the same logits."""
        return NormalizedLinear(self.weight, self.bias, self.center)


class NormalizedLinear(nn.Module):
    """The layer of a :class:`NormalizedHead`: centre, scale every row to length one, then a linear map."""

    def __init__(self, weight: Tensor, bias: Tensor, center: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(bias.clone())
        self.center: Tensor
        self.register_buffer("center", center.clone())
        self.out_features, self.in_features = weight.shape

    def forward(self, features: Tensor) -> Tensor:
        """Logits (..., K) of features (..., D)."""
        return nn.functional.linear(normalize(features - self.center), self.weight, self.bias)


Head: TypeAlias = LinearHead
"""What a method takes and returns: a linear head or one of its siblings."""


def _own(name: str, values: object) -> Tensor:
    """The values as a float32 tensor that nobody else can change; ValueError unless they are real numbers."""
    tensor = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"head {name} is {tensor.dtype}; expected real numbers")
    return tensor.to(torch.float32, copy=True)


_TYPES: dict[str, type[LinearHead]] = {"linear": LinearHead, "normalized": NormalizedHead}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def normalize(rows: Tensor) -> Tensor:
    """The rows (..., D) scaled to length one; a row of zeros stays zero.

    The largest entry is divided out first, so that rows of 1e20 or 1e-30 neither overflow nor vanish.
    """
    largest = rows.abs().amax(dim=-1, keepdim=True)
    rows = rows / torch.where(largest > 0, largest, 1)
    # Now the largest entry is 1, so the norm is at least 1 except for a row of zeros.
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(0.5)
    return rows / norms


def load_head(path: str | os.PathLike[str]) -> LinearHead:
    """The head in a safetensors file.

    A file that holds just ``weight`` and ``bias`` (the state dict of an ``nn.Linear``) is a linear head too.
    ValueError when it is not a head, FileNotFoundError when it is not there.
    """
    path = Path(path)
    name = str(path) if str(path).isprintable() else repr(str(path))
    if not path.is_file():
        raise FileNotFoundError(f"{name}: no such head (a .safetensors file made by `rebalance fit` or `tune`)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            kind = _kind(metadata.get("type", "linear"), set(file.keys()))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{name}: not a readable safetensors file ({error}); expected a head") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    try:
        return kind(**tensors, record=_record(metadata))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _kind(stated: str, names: set[str]) -> type[LinearHead]:
    """The class of head in a file that states this type and holds tensors of these names; none of them is read."""
    kind = _TYPES.get(stated)
    if kind is None:
        raise ValueError(f"a head of type {stated[:40]!r}; this release knows {', '.join(_TYPES)}")
    expected = {"weight", "bias"} | ({"center"} if kind is NormalizedHead else set())
    if "weight" not in names or names - expected:
        held = ", ".join(repr(key[:40]) for key in sorted(names)[:5]) or "nothing"
        raise ValueError(f"not a head: it holds {held}; expected the tensors {', '.join(sorted(expected))}")
    return kind


def _record(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The record in a file's metadata; text that is not JSON (another program's) is kept as it is."""
    record: dict[str, Any] = {}
    for key, text in metadata.items():
        if key in ("format", "type"):
            continue
        try:
            record[key] = json.loads(text)
        except ValueError:
            record[key] = text
    return record
