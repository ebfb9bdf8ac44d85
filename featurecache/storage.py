"""Values as they are stored: checked, converted, and digested."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

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
    """Sample ids as fixed-width UTF-8 (N,); ValueError for one that is no text, too long, or holds a zero byte."""
    try:
        encoded = [str.encode(name, "utf-8", errors="surrogateescape") for name in names]
    except TypeError as error:
        odd = next((name for name in names if not isinstance(name, str)), None)
        raise ValueError(f"sample ids hold {repr(odd)[:80]}; expected a text for every row") from error
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


SAMPLED = "rows:"  # begins a digest that holds only among equal versions and seeds


def data_digest(
    ids: Iterable[NDArray[np.bytes_]], labels: NDArray[np.int64], values: Iterable[NDArray[Any]] = ()
) -> str:
    """SHA-256 over what a split was made from, in its order.

    ids: (N,) in parts of any length. labels: (N,). values: parts of the features and logits, where they were given;
    of them just CRC32s are taken, which is several times as fast and tells two sets of features apart.
    """
    digest = hashlib.sha256()
    for part in ids:
        digest.update(b"".join(name + b"\0" for name in part.tolist()))  # no id holds a zero byte
    digest.update(as_bytes(np.ascontiguousarray(labels, dtype="<i8")))  # no copy of what is so already
    for block in values:
        digest.update(zlib.crc32(as_bytes(np.ascontiguousarray(block))).to_bytes(4, "little"))
    return digest.hexdigest()


class IdColumn(Protocol):
    """Ids (N,) as fixed-width UTF-8, given slice by slice."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.bytes_]: ...


class NumberedIds:
    """The numbers of the images as ids, made when they are asked for.

    rows: N. views: of every image.
    """

    def __init__(self, rows: int, views: int = 1) -> None:
        self._rows, self._images = rows, max(1, rows // views)
        self.dtype: np.dtype[Any] = np.dtype(f"S{len(str(self._images - 1))}")

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, rows: slice, /) -> NDArray[np.bytes_]:
        return (np.arange(*rows.indices(self._rows)) % self._images).astype(self.dtype)


def as_bytes(values: NDArray[Any]) -> memoryview:
    """The bytes of a contiguous array, not copied."""
    return memoryview(values.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def as_array(values: Any) -> NDArray[Any]:
    """A tensor or anything array-like as an array; bfloat16, which NumPy does not know, as float32."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
        return np.asarray(values.numpy())
    return np.asarray(values)
