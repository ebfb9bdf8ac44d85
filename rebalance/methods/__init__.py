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
from rebalance.methods.balanced_softmax import balanced_softmax
from rebalance.methods.bias_corrected_temperature import bias_corrected_temperature
from rebalance.methods.class_balanced import class_balanced
from rebalance.methods.cosine import cosine
from rebalance.methods.crt import crt
from rebalance.methods.disalign import disalign
from rebalance.methods.focal import focal
from rebalance.methods.joint import joint
from rebalance.methods.label_aware_smoothing import label_aware_smoothing
from rebalance.methods.lda import lda
from rebalance.methods.ldam import ldam
from rebalance.methods.logit_adjust import adjust_intervals, adjust_limits, logit_adjust
from rebalance.methods.logit_adjusted_loss import logit_adjusted_loss
from rebalance.methods.lws import lws
from rebalance.methods.marc import marc
from rebalance.methods.multiplicative import gamma_intervals, gamma_limits, multiplicative
from rebalance.methods.ncm import ncm
from rebalance.methods.over_smoothing import over_smoothing
from rebalance.methods.tau_norm import tau_intervals, tau_limits, tau_norm
from rebalance.methods.temperature import temperature
from rebalance.methods.vector_scaling import vector_scaling
from rebalance.methods.vs_loss import vs_loss
from rebalance.methods.weight_balance import weight_balance
from rebalance.search.path import Floats, Interval

__all__ = [
    "METHODS",
    "Method",
    "balanced_softmax",
    "bias_corrected_temperature",
    "class_balanced",
    "cosine",
    "crt",
    "disalign",
    "find_method",
    "focal",
    "hyperparameters",
    "joint",
    "label_aware_smoothing",
    "lda",
    "ldam",
    "logit_adjust",
    "logit_adjusted_loss",
    "lws",
    "marc",
    "multiplicative",
    "ncm",
    "over_smoothing",
    "takes_counts",
    "tau_norm",
    "temperature",
    "vector_scaling",
    "vs_loss",
    "weight_balance",
]


@dataclass(frozen=True)
class Path:
    """A hyperparameter that is searched exactly.

    parameter: its name. intervals: ``intervals(head, features, labels, **fixed) -> (lo, hi)``, of every row.
    limits: ``limits(head) -> (low, high)``, outside of which the head cannot be computed. Both take `counts` as well
    where the method does and they need them.
    """

    parameter: str
    intervals: Callable[..., tuple[Floats, Floats]]
    limits: Callable[..., Interval]


@dataclass(frozen=True)
class Method:
    """A line of the registry.

    function: the method. on: what it is fitted on, "train", "val" (calibration) or None (nothing is fitted).
    path: its exact search, if it has one. grid: what `tune` tries where no grid is given, the least regularised
    value first. source: where it is from, for the tables. needs_head: False where head=None is accepted.
    """

    function: Callable[..., LinearHead]
    on: Literal["train", "val"] | None
    path: Path | None = None
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    source: str = ""
    needs_head: bool = True


_KANG = "Kang et al., ICLR 2020"
_DECAYS = (1e-5, 1e-4, 1e-3, 5e-3, 3e-2)
_FEW_DECAYS = (1e-5, 1e-4, 1e-3, 1e-2)  # where another value is tried besides

METHODS: dict[str, Method] = {
    "joint": Method(joint, on=None, source=_KANG),
    "ncm": Method(ncm, on="train", needs_head=False, grid={"transform": ("un", "l2n", "cl2n")}, source=_KANG),
    "crt": Method(crt, on="train", needs_head=False, grid={"weight_decay": _DECAYS}, source=_KANG),
    "tau_norm": Method(tau_norm, on=None, path=Path("tau", tau_intervals, tau_limits), source=_KANG),
    "lws": Method(lws, on="train", grid={"weight_decay": _DECAYS}, source=_KANG),
    "logit_adjust": Method(
        logit_adjust, on=None, path=Path("tau", adjust_intervals, adjust_limits), source="Menon et al., ICLR 2021"
    ),
    "multiplicative": Method(
        multiplicative, on=None, path=Path("gamma", gamma_intervals, gamma_limits), source="Hasegawa & Sato, ICLR 2025"
    ),
    "lda": Method(
        lda,
        on="train",
        needs_head=False,
        grid={"shrinkage": (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)},
        source="Fisher, 1936",
    ),
    "cosine": Method(
        cosine,
        on="train",
        needs_head=False,
        grid={"weight_decay": _DECAYS},
        source="Gidaris & Komodakis, CVPR 2018",
    ),
    "ldam": Method(
        ldam,
        on="train",
        needs_head=False,
        grid={"weight_decay": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)},
        source="Cao et al., NeurIPS 2019",
    ),
    "weight_balance": Method(
        weight_balance, on="train", grid={"weight_decay": _DECAYS}, source="Alshammari et al., CVPR 2022"
    ),
    "marc": Method(marc, on="train", grid={"weight_decay": _DECAYS}, source="Wang et al., ACML 2022"),
    "disalign": Method(disalign, on="train", grid={"weight_decay": _DECAYS}, source="Zhang et al., CVPR 2021"),
    "temperature": Method(temperature, on="val", source="Guo et al., ICML 2017"),
    "vector_scaling": Method(vector_scaling, on="val", grid={"weight_decay": _DECAYS}, source="Guo et al., ICML 2017"),
    "bias_corrected_temperature": Method(
        bias_corrected_temperature, on="val", grid={"weight_decay": _DECAYS}, source="Alexandari et al., ICML 2020"
    ),
    "balanced_softmax": Method(
        balanced_softmax,
        on="train",
        needs_head=False,
        grid={"weight_decay": _DECAYS},
        source="Ren et al., NeurIPS 2020",
    ),
    "logit_adjusted_loss": Method(
        logit_adjusted_loss,
        on="train",
        needs_head=False,
        grid={"weight_decay": _FEW_DECAYS, "tau": (0.5, 1.0, 1.5)},
        source="Menon et al., ICLR 2021",
    ),
    "vs_loss": Method(
        vs_loss,
        on="train",
        needs_head=False,
        grid={"weight_decay": _FEW_DECAYS, "gamma": (0.05, 0.15, 0.3)},
        source="Kini et al., NeurIPS 2021",
    ),
    "class_balanced": Method(
        class_balanced,
        on="train",
        needs_head=False,
        grid={"weight_decay": _DECAYS},
        source="Cui et al., CVPR 2019",
    ),
    "focal": Method(
        focal,
        on="train",
        needs_head=False,
        grid={"weight_decay": _DECAYS},
        source="Lin et al., ICCV 2017",
    ),
    "label_aware_smoothing": Method(
        label_aware_smoothing,
        on="train",
        needs_head=False,
        grid={"weight_decay": _DECAYS},
        source="Zhong et al., CVPR 2021",
    ),
    "over_smoothing": Method(
        over_smoothing,
        on="train",
        grid={"weight_decay": (1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)},
        source="Sun et al., ICLR 2025",
    ),
}


DATA = frozenset({"counts", "start"})  # keywords that are data, like the three positional arguments


def hyperparameters(function: Callable[..., LinearHead]) -> list[str]:
    """The names of a method's hyperparameters: its keyword-only parameters that are not data."""
    parameters = inspect.signature(function).parameters
    return [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY and name not in DATA]


def takes_counts(function: Callable[..., Any]) -> bool:
    """Whether a method, or a function of its path, uses the training rows a class (keyword `counts`)."""
    return "counts" in inspect.signature(function).parameters


def find_method(method: str | Callable[..., LinearHead]) -> tuple[str, Method]:
    """The name and the line of a method, given by name or as its function; ValueError names those there are."""
    for name, line in METHODS.items():
        if method == name or method is line.function:
            return name, line
    raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
