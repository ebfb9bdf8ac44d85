"""A head as a file: safetensors whose tensors are the state dict of the head's module.

Which type of head it is and how it came to be (its record) lie in the file's metadata. A file that holds just
``weight`` and ``bias``, as any ``nn.Linear`` is saved, is a linear head too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from rebalance import ranks
from rebalance.head import GatedHead, LinearHead, NormalizedHead

_TYPES: dict[str, type[LinearHead]] = {"linear": LinearHead, "normalized": NormalizedHead, "gated": GatedHead}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def save_head(head: LinearHead, path: str | os.PathLike[str]) -> None:
    """Write the head, under a temporary name that is renamed when the file is whole.

    head: of any type. path: the file; FileNotFoundError when it is a folder or lies in none.
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: cannot be written; expected a file's name in a folder that is there")
    if ranks.rank() != 0:
        return  # the first rank writes for all
    metadata = {key: json.dumps(value) for key, value in head.record.items()}
    metadata |= {"format": "rebalance.head", "type": _NAMES[type(head)]}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in head.tensors().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(save(tensors, metadata=metadata))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_head(path: str | os.PathLike[str]) -> LinearHead:
    """The head in a safetensors file.

    path: a file that a head was saved to, or the saved state dict of an ``nn.Linear``.
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
    expected = set(kind.tensor_names())
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
        except (ValueError, RecursionError):  # the latter of text nested too deeply
            record[key] = text
    return record
