"""torchvision, made to import beside a PyTorch without CUDA."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch


def import_torchvision() -> ModuleType:
    """torchvision itself; its C++ operators (nms and the like) may be absent.

    Call it before anything that imports torchvision: timm and transformers break on a half-imported one.
    Raises ModuleNotFoundError when torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    # torchvision's wheel is linked against CUDA. Beside a CPU-only PyTorch its operators never load, and describing
    # nms and qnms to the compiler then fails. With both declared, without code behind them, the rest imports.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    declared = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        declared.define(schema)  # type: ignore[no-untyped-call]
    torchvision = importlib.import_module("torchvision")
    vars(torchvision)["_declared_operators"] = declared  # the declarations last as long as this object
    return torchvision
