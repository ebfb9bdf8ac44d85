"""Caches of other people's making, in and out: one file a format, one line a format in FORMATS."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from torch import Tensor

from featurecache.arrays import HasWeightAndBias, write
from featurecache.convert import npy, npy_folder, npz, torch_file
from featurecache.convert.columns import ALIASES, Block, find_columns
from featurecache.convert.hdf5 import files as hdf5
from featurecache.convert.parquet import files as parquet
from featurecache.convert.pickles import files as pickles
from featurecache.layout import CACHE_FILE
from featurecache.layout import shown as shown_path
from featurecache.quoting import shown
from featurecache.reader import FeatureCache

Reader: TypeAlias = Callable[[Path, Mapping[str, str]], Iterator[Block]]
Saver: TypeAlias = Callable[[FeatureCache, Path], list[Path]]


@dataclass(frozen=True)
class Format:
    """A way in which others keep features.

    name: what --to calls it, and, after a dot, the ending of a target's name. usage: how users write such a source.
    matches: whether a path, a file or a folder that exists, is one.
    read: (path, names) -> blocks of rows, every block with the same columns; names: our columns -> theirs, {} where
        they are to be recognised; None where it is only written.
    save: (cache, folder) -> the files it wrote into the folder, which is new and empty; None where it is only read.
    """

    name: str
    usage: str
    matches: Callable[[Path], bool]
    read: Reader | None
    save: Saver | None


FORMATS = (
    Format("npy", "a .npy file", npy.matches, npy.read, None),
    Format(
        "npy", "a folder of img_emb/*.npy and metadata/*.parquet", npy_folder.matches, npy_folder.read, npy_folder.save
    ),
    Format("npz", "a .npz file", npz.matches, npz.read, npz.save),
    Format("torch", "a .pt or .pth file of tensors", torch_file.matches, torch_file.read, None),
    Format("pickle", "a .pkl file of NumPy arrays", pickles.matches, pickles.read, None),
    Format("h5", "a .h5 file", hdf5.matches, hdf5.read, hdf5.save),
    Format("parquet", "a .parquet file", parquet.matches, parquet.read, parquet.save),
)


def convert_in(
    source: str | os.PathLike[str],
    cache: str | os.PathLike[str],
    split: str,
    *,
    names: Mapping[str, str] | None = None,
    head: HasWeightAndBias | tuple[Tensor, Tensor] | None = None,
    class_names: Sequence[str] | None = None,
    dtype: str = "float16",
    seen: bool | None = None,
) -> Format:
    """Add a foreign file to a cache as one split; the format it was taken for.

    source: a file or folder of one of FORMATS. cache: the folder; it is made if it is not there.
    split: its name, such as train. names: our columns -> theirs (features, labels, logits, sample_id); what is not
        named is recognised by its usual names. head, class_names, dtype, seen: as in featurecache.write.
    ValueError when the source is none of FORMATS, is damaged, or does not fit the cache.
    """
    path = Path(source)
    found = format_of(path)
    if found.read is None:
        raise ValueError(f"{shown_path(path)}: {found.name} is written, not read")
    blocks = (_labelled(block) for block in found.read(path, dict(names or {})))
    write(cache, split, blocks, head=head, class_names=class_names, dtype=dtype, seen=seen)
    return found


def convert_out(cache: FeatureCache, target: str | os.PathLike[str], *, to: str | None = None) -> list[Path]:
    """Write a cache in a foreign format; the files that were made.

    cache: every split of it is written. target: a folder that does not exist. to: the name of a format; None: the
        ending of the target says it.
    ValueError when the target is there, the format is not known, or a split is incomplete; nothing is left then.
    """
    path = Path(target)
    savers = {each.name: each.save for each in FORMATS if each.save is not None}
    save = savers.get(path.suffix.lower().removeprefix(".") if to is None else to)
    if save is None:
        said = f"the ending of {shown(path.name)}" if to is None else shown(to)
        raise ValueError(f"{said} is no format to write; expected one of {', '.join(savers)}")
    for split in cache:
        _ = cache[split]  # an incomplete one is refused before anything is written
    if os.path.lexists(path):
        raise ValueError(f"{shown_path(path)} exists already; name a new folder")
    path.mkdir(parents=True)
    try:
        return save(cache, path)
    except BaseException:
        shutil.rmtree(path)
        raise


def format_of(path: Path) -> Format:
    """The format of a file or folder; ValueError when it is none."""
    if not path.exists():
        raise ValueError(f"{shown_path(path)} does not exist; expected {_usages()}")
    if (path / CACHE_FILE).is_file():
        raise ValueError(f"{shown_path(path)} is a feature cache already; expected {_usages()}")
    for each in FORMATS:
        if each.read is not None and each.matches(path):
            return each
    raise ValueError(f"{shown_path(path)} is in none of the known formats; expected {_usages()}")


def _labelled(block: Block) -> Block:
    """The block with labels: -1 where the file has none."""
    return {"labels": np.full(len(block["features"]), -1)} | block


def _usages() -> str:
    return ", ".join(each.usage for each in FORMATS if each.read is not None)


__all__ = ["ALIASES", "FORMATS", "Block", "Format", "convert_in", "convert_out", "find_columns", "format_of"]
