"""The head: a frozen classifier with two verbs, ``head(features) -> logits`` and ``head.to_module()``.

Nearly every method ends in a weight and a bias: a :class:`LinearHead`. One that first centres the features and
scales each row to length one is a :class:`NormalizedHead`; one that corrects the logits of each row by its own share
a :class:`GatedHead`. A head is saved as a safetensors file whose tensors are the state dict of
:meth:`~LinearHead.to_module`, so nobody needs this package to load it (see ``head_file``); how it came to be lies in
the file's metadata.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeAlias

import numpy as np
import torch
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
        _refuse_nonfinite("weight", weight)
        object.__setattr__(self, "weight", weight)
        self._complete("bias", (len(weight),))
        object.__setattr__(self, "record", dict(self.record))

    def _complete(self, name: str, shape: tuple[int, ...], missing: float = 0.0) -> None:
        """Make the field a finite tensor of this shape on the weight's device; None becomes `missing` everywhere."""
        given = getattr(self, name)
        tensor = self.weight.new_full(shape, missing) if given is None else _own(name, given).to(self.weight.device)
        if tensor.shape != shape:
            raise ValueError(f"head {name} has shape {tuple(tensor.shape)}; expected {shape}")
        _refuse_nonfinite(name, tensor)
        object.__setattr__(self, name, tensor)

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
        for part, block in blocks(features, device=self.weight.device, columns=self.num_classes):
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
        """What is saved: the tensors by name, those of the module's state dict."""
        return {name: getattr(self, name) for name in self.tensor_names()}

    @classmethod
    def tensor_names(cls) -> list[str]:
        """The names of the tensors of a head of this type."""
        return [each.name for each in fields(cls) if each.name != "record"]

    def to_module(self) -> nn.Module:
        """An ``nn.Linear`` that computes the same logits."""
        linear = nn.Linear(self.width, self.num_classes, device=self.weight.device, dtype=self.weight.dtype)
        linear.load_state_dict({"weight": self.weight, "bias": self.bias})
        return linear

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the head as a safetensors file, under a temporary name that is renamed when the file is whole."""
        from rebalance.head_file import save_head  # it imports this module

        save_head(self, path)


@dataclass(frozen=True, eq=False)
class NormalizedHead(LinearHead):
    """A classifier of directions: ``x' = (x - center) / |x - center|``, ``logits = x' @ weight.T + bias``.

    center: (D,), subtracted before the rows are scaled to length one; None means zeros.
    """

    center: Tensor = None  # type: ignore[assignment]  # None is accepted and becomes zeros

    def __post_init__(self) -> None:
        super().__post_init__()
        self._complete("center", (self.width,))

    def _logits(self, block: Tensor) -> Tensor:
        return torch.addmm(self.bias, normalize(block - self.center), self.weight.T)

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


@dataclass(frozen=True, eq=False)
class GatedHead(LinearHead):
    """A linear classifier whose logits are corrected where a gate opens, each row by its own share.

    With ``z = x @ weight.T + bias`` and the share ``s = sigmoid(x @ gate + gate_bias)``, one number a row,
    ``logits = s * (scale * z + offset) + (1 - s) * z``.

    scale, offset: (K,), the correction; None means ones and zeros, which changes nothing.
    gate, gate_bias: (D,) and (), when it applies; None means zeros, a share of one half for every row.
    Source: Zhang et al. (CVPR 2021), the adaptive calibration of DisAlign.
    """

    scale: Tensor = None  # type: ignore[assignment]  # None is accepted, here and below
    offset: Tensor = None  # type: ignore[assignment]
    gate: Tensor = None  # type: ignore[assignment]
    gate_bias: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._complete("scale", (self.num_classes,), missing=1.0)
        self._complete("offset", (self.num_classes,))
        self._complete("gate", (self.width,))
        self._complete("gate_bias", ())

    def _logits(self, block: Tensor) -> Tensor:
        return gated_logits(block, **self.tensors())

    def to_module(self) -> nn.Module:
        """A module whose parameters are the head's tensors and that computes the same logits."""
        return GatedLinear(self)


class GatedLinear(nn.Module):
    """The layer of a :class:`GatedHead`: a linear map whose logits are corrected by a gated scale and offset."""

    def __init__(self, head: GatedHead) -> None:
        super().__init__()
        for name, tensor in head.tensors().items():
            self.register_parameter(name, nn.Parameter(tensor.clone()))
        self.out_features, self.in_features = head.weight.shape

    def forward(self, features: Tensor) -> Tensor:
        """Logits (..., K) of features (..., D)."""
        return gated_logits(features, **dict(self.named_parameters()))


def gated_logits(
    rows: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, offset: Tensor, gate: Tensor, gate_bias: Tensor
) -> Tensor:
    """The logits (..., K) of a :class:`GatedHead` with these tensors for rows (..., D)."""
    z = nn.functional.linear(rows, weight, bias)
    share = torch.sigmoid(rows @ gate + gate_bias)[..., None]
    return share * (scale * z + offset) + (1 - share) * z


Head: TypeAlias = LinearHead
"""What a method takes and returns: a linear head or one of its siblings."""


def _own(name: str, values: object) -> Tensor:
    """The values as a float32 tensor that nobody else can change; ValueError unless they are real numbers."""
    tensor = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"head {name} is {tensor.dtype}; expected real numbers")
    return tensor.to(torch.float32, copy=True)


def _refuse_nonfinite(name: str, tensor: Tensor) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"head {name} holds NaN or infinity; expected finite numbers")


def normalize(rows: Tensor) -> Tensor:
    """The rows (..., D) scaled to length one; a row of zeros stays zero.

    The largest entry is divided out first, so that rows of 1e20 or 1e-30 neither overflow nor vanish.
    """
    largest = rows.abs().amax(dim=-1, keepdim=True)
    rows = rows / torch.where(largest > 0, largest, 1)
    # Now the largest entry is 1, so the norm is at least 1 except for a row of zeros.
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(0.5)
    return rows / norms
