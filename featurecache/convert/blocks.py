"""Foreign columns as blocks of rows: cut, and turned into what a cache is written from."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featurecache import layout
from featurecache.convert.columns import Block, find_columns

BLOCK_ROWS, BLOCK_BYTES = 4096, 2**26
MAX_TABLES, MAX_DEPTH = 10_000, 8  # of dictionaries inside one another
MAX_RATIO, SLACK = 200, 2**20  # how far columns may have been compressed; bytes that may have been so to nothing
ID_BYTES = 4 * layout.MAX_ID  # of a name, in the widest text of NumPy


def block_rows(row_bytes: int) -> int:
    """How many rows a block may have. row_bytes: of all columns together."""
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(1, row_bytes)))


def check_inflation(total: int, size: int, source: Path) -> None:
    """ValueError when a file would become far larger than numbers can have been compressed from.

    total: bytes of its columns. size: bytes of the file.
    """
    if total > MAX_RATIO * size + SLACK:
        raise ValueError(
            f"{layout.shown(source)}: its {size} bytes would become {total}, more than {MAX_RATIO} times as many; "
            "if that is right, save it without compression"
        )


def as_block(raw: Mapping[str, Any], source: Path) -> Block:
    """Foreign rows as a block: floats in this machine's byte order, labels as int64, names as texts.

    raw: our column names -> arrays, tensors or, for names, lists of str, all of equal length.
    ValueError when a column holds something else.
    """
    turn = {"features": _floats, "logits": _floats, "labels": _labels, "sample_id": _texts}
    out: Block = {}
    for name, values in raw.items():
        try:
            out[name] = turn[name](_numpy(values))
        except ValueError as error:
            raise ValueError(f"{layout.shown(source)}: {name} {str(error)[:300]}") from None
    return out


def table_blocks(columns: Mapping[str, Any], names: Mapping[str, str], source: Path) -> Iterator[Block]:
    """Blocks of columns that can be cut anywhere.

    columns: their names -> arrays, tensors or lists. names: our names -> theirs, as the user said.
    ValueError, before the first block, when the columns are not found or do not fit one another.
    """
    chosen = find_columns({name: _shape(values) for name, values in columns.items()}, names, source)
    picked = {ours: columns[theirs] for ours, theirs in chosen.items()}
    rows = len(picked["features"])
    step = block_rows(sum(_row_bytes(values) for values in picked.values()))
    for start in range(0, rows, step):
        yield as_block({ours: values[start : start + step] for ours, values in picked.items()}, source)


def flat(root: Any, source: Path) -> dict[str, Any]:
    """The columns in a tree of dictionaries, by their path (train/features); an array alone is "features".

    root: a dictionary, list or tuple whose leaves are arrays, tensors, or lists of one plain type; what else is in it
        is passed over.
    ValueError when it is too deep or has too many parts.
    """
    out: dict[str, Any] = {}
    if _is_column(root):
        return {"features": root}
    waiting: deque[tuple[str, Any, int]] = deque([("", root, 0)])
    while waiting:
        path, node, depth = waiting.popleft()
        items = _parts(node)
        if depth > MAX_DEPTH or len(out) + len(waiting) + len(items) > MAX_TABLES:
            raise ValueError(f"{layout.shown(source)}: its dictionaries have too many parts or lie too deep")
        for name, value in items:
            if _is_column(value):
                out[path + name] = value
            else:
                waiting.append((f"{path}{name}/", value, depth + 1))
    return out


def _parts(node: Any) -> list[tuple[str, Any]]:
    """What a container holds, by name; nothing for what is no container."""
    if isinstance(node, dict):
        # dict.items, for a stranger may have put something else in its place
        return [(str(name), value) for name, value in dict.items(node) if type(name) in (str, int)]
    if type(node) in (list, tuple) and len(node) <= MAX_TABLES:
        return [(str(i), value) for i, value in enumerate(node)]
    return []


def _is_column(value: Any) -> bool:
    if isinstance(value, np.ndarray | torch.Tensor):
        return True
    return type(value) is list and bool(value) and {type(each) for each in value} in ({str}, {int})


def _shape(values: Any) -> tuple[int, ...]:
    return (len(values),) if isinstance(values, list) else tuple(values.shape)


def _row_bytes(values: Any) -> int:
    if isinstance(values, list):
        return 64
    return int(values.itemsize) * int(np.prod(values.shape[1:], dtype=object))


def _numpy(values: Any) -> NDArray[Any]:
    if isinstance(values, torch.Tensor):
        values = values.detach()
        # one-byte floats and bfloat16 are unknown to NumPy
        values = (values.float() if values.is_floating_point() and values.itemsize < 4 else values).numpy()
    if isinstance(values, list) and all(type(each) is str for each in values):
        return np.array(values, dtype=object)
    return np.asarray(values)


def _floats(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iu":
        return values.astype(np.float32)
    if values.dtype.kind != "f" or values.dtype.itemsize > 8:
        raise ValueError(f"are {values.dtype}; expected numbers")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _labels(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind not in "fiu":
        raise ValueError(f"are {values.dtype}; expected class ids, integers from 0 (-1 = no label)")
    # Every integer that is no class id may lose digits here: it is refused all the same.
    exact = values.astype(np.float64)
    wrong = ~((exact == np.trunc(exact)) & (exact >= -1) & (exact < layout.MAX_CLASSES))
    if wrong.any():
        raise ValueError(f"hold {values[wrong][0]}; expected class ids, integers from 0 (-1 = no label)")
    return exact.astype(np.int64)


def _texts(values: NDArray[Any]) -> list[str]:
    if values.dtype.kind in "iu" or (values.dtype.kind == "O" and all(type(each) is str for each in values)):
        return [str(each) for each in values.tolist()]
    if values.dtype.kind not in "SU" or values.dtype.itemsize > ID_BYTES:
        raise ValueError(f"are {values.dtype}; expected names of at most {layout.MAX_ID} bytes")
    check_text(values)
    try:
        return [each.decode() if isinstance(each, bytes) else each for each in values.tolist()]
    except UnicodeDecodeError:
        raise ValueError("hold bytes that are no UTF-8; expected text") from None


def check_text(values: NDArray[Any]) -> None:
    """ValueError when texts of NumPy hold numbers that are no letters; NumPy itself would fall over them."""
    if values.dtype.kind == "U":
        codes = np.ascontiguousarray(values).reshape(-1).view(f"{values.dtype.byteorder}u4")
        if (codes > sys.maxunicode).any():
            raise ValueError(f"hold the letter {codes.max()}; expected text (letters up to {sys.maxunicode})")
