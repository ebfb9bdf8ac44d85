"""The methods: each a function ``method(head, features, labels, *, hyperparameters) -> head``.

Adding one: its file in this folder, its line in METHODS, a test of its mathematics. The contract tests, the command
line and `tune` find it here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rebalance.head import LinearHead
from rebalance.methods.crt import crt
from rebalance.methods.joint import joint
from rebalance.methods.lws import lws
from rebalance.methods.ncm import ncm
from rebalance.methods.tau_norm import tau_intervals, tau_limits, tau_norm
from rebalance.path import Floats, Interval

__all__ = ["METHODS", "Method", "crt", "find_method", "joint", "lws", "ncm", "tau_norm"]


@dataclass(frozen=True)
class Path:
    """A hyperparameter that is searched exactly.

    parameter: its name. intervals: ``intervals(head, features, labels, **fixed) -> (lo, hi)``, see rebalance.path.
    limits: ``limits(head) -> (low, high)``, outside of which the head cannot be computed.
    """

    parameter: str
    intervals: Callable[..., tuple[Floats, Floats]]
    limits: Callable[[LinearHead | None], Interval]


@dataclass(frozen=True)
class Method:
    """A line of the registry.

    function: the method. on: what it is fitted on, "train", "val" (calibration) or None (nothing is fitted).
    path: its exact search, if it has one. grid: what `tune` tries where no grid is given, the least regularised
    value first. source: where it is from, for the tables.
    """

    function: Callable[..., LinearHead]
    on: Literal["train", "val"] | None
    path: Path | None = None
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    source: str = ""


_KANG = "Kang et al., ICLR 2020"
_DECAYS = (1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 1e-2, 1e-1)

METHODS: dict[str, Method] = {
    "joint": Method(joint, on=None, source=_KANG),
    "ncm": Method(ncm, on="train", grid={"transform": ("un", "l2n", "cl2n")}, source=_KANG),
    "crt": Method(crt, on="train", grid={"weight_decay": _DECAYS}, source=_KANG),
    "tau_norm": Method(tau_norm, on=None, path=Path("tau", tau_intervals, tau_limits), source=_KANG),
    "lws": Method(lws, on="train", grid={"weight_decay": _DECAYS}, source=_KANG),
}


def hyperparameters(function: Callable[..., LinearHead]) -> list[str]:
    """The names of a method's hyperparameters: its keyword-only parameters."""
    return [name for name, each in inspect.signature(function).parameters.items() if each.kind is each.KEYWORD_ONLY]


def find_method(method: str | Callable[..., LinearHead]) -> tuple[str, Method]:
    """The name and the line of a method, given by name or as its function; ValueError names those there are."""
    for name, line in METHODS.items():
        if method == name or method is line.function:
            return name, line
    raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
