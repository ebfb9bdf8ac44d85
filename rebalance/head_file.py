"""A head as a file: safetensors whose tensors are the state dict of the head's module.

Which type of head it is and how it came to be (its record) lie in the file's metadata. A file that holds just
``weight`` and ``bias``, as any ``nn.Linear`` is saved, is a linear head too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rebalance import ranks
from rebalance.head import GatedHead, LinearHead, NormalizedHead
from rebalance.whole_file import whole_file

SUFFIX, FORMAT, DIGEST = ".safetensors", "rebalance.head", "sha256"
DEEPEST = 32  # levels of a record's lists and objects; text that is nested deeper stays text
_TYPES: dict[str, type[LinearHead]] = {"linear": LinearHead, "normalized": NormalizedHead, "gated": GatedHead}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def save_head(head: LinearHead, path: str | os.PathLike[str]) -> None:
    """Write the head, under a temporary name that is renamed when the file is whole.

    head: of any type. path: the file; FileNotFoundError when it is a folder or lies in none.
    """
    if ranks.rank() != 0:
        return  # the first rank writes for all
    metadata = {key: json.dumps(value) for key, value in head.record.items()}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in head.tensors().items()}
    metadata |= {"format": FORMAT, "type": _NAMES[type(head)], DIGEST: digest(tensors)}
    with whole_file(path) as file:
        file.write(save(tensors, metadata=metadata))


def check_target(path: str | os.PathLike[str]) -> None:
    """Before the work that makes a head: ValueError unless a head can be saved under this name.

    path: ends in .safetensors, in a folder that is there; what is there already is a head.
    """
    path = Path(path)
    name = _printable(path)
    if path.suffix.lower() != SUFFIX:
        raise ValueError(f"{name}: a head is a {SUFFIX} file; expected a name that ends so")
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"{name}: cannot be written; expected a file's name in a folder that is there")
    if not os.path.lexists(path):
        return
    try:
        load_head(path)
    except (ValueError, OSError):
        raise ValueError(f"{name} is there already and is no head; give another name, or remove it first") from None


def is_own(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that it is a head saved here; False for one that cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def load_head(path: str | os.PathLike[str]) -> LinearHead:
    """The head in a safetensors file.

    path: a file that a head was saved to, or the saved state dict of an ``nn.Linear``.
    ValueError when it is not a head, FileNotFoundError when it is not there.
    """
    path = Path(path)
    name = _printable(path)
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
    if metadata.get("format") == FORMAT and DIGEST in metadata and metadata[DIGEST] != digest(tensors):
        raise ValueError(f"{name}: its numbers are not those that were saved: it is damaged; fit it again")
    try:
        return kind(**tensors, record=_record(metadata))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a head's tensors with their names, types and shapes."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole = tensor.detach().cpu().contiguous()
        found.update(f"{name} {whole.dtype} {tuple(whole.shape)} ".encode())
        found.update(whole.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects in a JSON value are nested in more than so many levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deeper(each, levels - 1) for each in inner)


def _printable(path: Path) -> str:
    return str(path) if str(path).isprintable() else repr(str(path))


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
        if key in ("format", "type", DIGEST):
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):  # the latter of text nested too deeply
            value = text
        record[key] = text if _deeper(value, DEEPEST) else value
    return record
