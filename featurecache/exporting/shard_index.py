"""The index of a model in shards: a JSON file that says which file holds which tensor.

An index comes from strangers and names files, so a name is a plain file name in the folder of the index and nothing
else: no path, no other kind of file.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from featurecache.disk import read_head
from featurecache.layers import LISTED
from featurecache.quoting import shown

MAX_BYTES = 2**24  # of a JSON file: the indices of the largest language models have half of that


def read_index(path: Path, ending: str) -> dict[str, str]:
    """The shard of every tensor, by the tensor's name.

    path: the index.
    ending: of the shards' names, such as ".safetensors".
    Raises ValueError when it is no index, or names what is no file of the folder; OSError when it cannot be read.
    """
    index = read_object(path)
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ValueError(f"index {shown(path)}: its weight_map is {_kind(shards)}, expected a shard for every tensor")
    for tensor, shard in shards.items():
        if not isinstance(shard, str) or not _is_plain(shard) or not shard.endswith(ending):
            raise ValueError(
                f"index {shown(path)} says that {shown(tensor)} lies in {_named(shard)}; expected the name of a "
                f"{ending} file beside the index, without a path"
            )
    return shards


def check_shards(path: Path, shards: dict[str, str], held: dict[str, set[str]]) -> None:
    """Raises ValueError unless every tensor lies in the shard that the index says, and in no other.

    path: the index, for messages.
    shards: as read_index gives them.
    held: the names of the tensors in every shard.
    """
    for tensor, shard in shards.items():
        if tensor not in held[shard]:
            raise ValueError(f"index {shown(path)} says that {shown(tensor)} lies in {shown(shard)}, and it does not")
    owner: dict[str, str] = {}
    for shard, tensors in held.items():
        twice = sorted(tensors & owner.keys())[:LISTED]
        if twice:
            raise ValueError(
                f"index {shown(path)}: {shown(twice[0])} lies in two shards, {shown(owner[twice[0]])} and "
                f"{shown(shard)}; expected every tensor in one"
            )
        owner |= dict.fromkeys(tensors, shard)


def read_object(path: Path) -> dict[str, Any]:
    """The object in a small JSON file.

    path: a regular file.
    Raises ValueError when it holds no such thing, is larger than MAX_BYTES, or has a key twice; OSError when it cannot
    be read.
    """
    data = read_head(path, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{shown(path)} is larger than {MAX_BYTES:,} bytes, expected a small JSON file")
    try:
        value = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError
        reason = str(error).splitlines()[0][:160] if isinstance(error, ValueError) else "too deeply nested"
        raise ValueError(f"{shown(path)} is not JSON that can be read: {reason}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{shown(path)} holds {_kind(value)}, expected a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"it has {shown(twice)} twice")
    return made


def _is_plain(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\:\0") and name.isprintable()


def _kind(value: object) -> str:
    kinds = {dict: "an empty object", list: "a list", str: "a text", type(None): "not there"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _named(value: object) -> str:
    return shown(value) if isinstance(value, str) else _kind(value)
