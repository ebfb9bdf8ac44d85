"""Values as they are stored: checked, converted, and digested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featurecache import layout


def to_storage(values: NDArray[Any], dtype: str, ids: NDArray[np.bytes_], *, what: str = "features") -> NDArray[Any]:
    """The rows in the stored dtype; ValueError naming the sample whose value is not finite or does not fit."""
    with np.errstate(over="ignore"):
        stored = values.astype(dtype)
    if np.isfinite(stored).all():
        return stored
    row = int(np.flatnonzero(~np.isfinite(stored).all(axis=1))[0])
    value = values[row][~np.isfinite(stored[row])][0]
    name = ids[row].decode(errors="replace")[:80]
    if np.isfinite(value):
        hint = "use --dtype float32" if dtype == "float16" else "expected numbers below 3e38"
        raise ValueError(f"{what} of sample {name!r} hold {value:g}, too large for {dtype}; {hint}")
    raise ValueError(
        f"{what} of sample {name!r} hold {value}; expected finite numbers: the model or this input is broken"
    )


def check_dtype(dtype: str) -> str:
    """The dtype of stored features; ValueError unless float16 or float32."""
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype {dtype!r}: expected float16 or float32")
    return dtype


def check_labels(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Labels (N,) as int64; ValueError unless integers of at least -1."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}; expected integers (N,)")
    if len(labels) and int(labels.min()) < -1:
        raise ValueError(f"label {int(labels.min())}: expected class ids from 0, or -1 for a row without a label")
    if len(labels) and int(labels.max()) >= layout.MAX_CLASSES:
        raise ValueError(f"label {int(labels.max())}: expected class ids below {layout.MAX_CLASSES}")
    return labels.astype(np.int64)


def encode_ids(names: Sequence[str]) -> NDArray[np.bytes_]:
    """Sample ids as fixed-width UTF-8 (N,); ValueError for one that is too long or ends in a zero byte."""
    try:
        encoded = [name.encode("utf-8", errors="surrogateescape") for name in names]
    except UnicodeEncodeError as error:
        raise ValueError(f"sample id {str(error.object)[:80]!r}: expected text that UTF-8 can hold") from error
    for name in encoded:
        if len(name) > layout.MAX_ID or b"\0" in name:
            raise ValueError(f"sample id {name[:80]!r}: expected at most {layout.MAX_ID} bytes and no zero byte")
    return np.array(encoded, dtype=np.bytes_) if encoded else np.zeros(0, dtype="S1")


def head_digest(weight: Tensor, bias: Tensor) -> str:
    """SHA-256 over the float32 bytes of a weight and a bias: which classifier features belong to."""
    digest = hashlib.sha256(json.dumps(list(weight.shape)).encode())
    for tensor in (weight, bias):
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def data_digest(ids: Sequence[str], labels: NDArray[np.int64]) -> str:
    """SHA-256 over sample ids and labels in their order: which data a split was made from."""
    digest = hashlib.sha256(json.dumps(list(ids), ensure_ascii=True).encode())
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()
