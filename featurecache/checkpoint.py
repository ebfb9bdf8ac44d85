"""Checkpoints: read the weights, identify them, and write them again with another classifier.

A checkpoint is a file or a folder. Files: those of featurecache.weights_layouts in PyTorch's format (.pt, .pth, .bin
and others), and .safetensors; in all of them every name may begin with "module.", which is taken off and, in a new
file, put back. Folders: what save_pretrained of transformers writes, in one file or in shards, see
featurecache.exporting.model_folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featurecache.disk import part_name, replacing
from featurecache.exporting.copying import copy_file, files_to_copy, new_folder
from featurecache.exporting.finding import layer_of_shape
from featurecache.exporting.placing import NewClassifier, held, placed
from featurecache.exporting.rewriting import rewrite
from featurecache.exporting.stored import Stored, read_stored
from featurecache.quoting import shown
from featurecache.weights_file import ENDINGS, PREFIX, is_safetensors
from featurecache.weights_layouts import has_both


@dataclass(frozen=True)
class Replaced:
    """What replace_in_checkpoint has written.

    layer: the classifier's name in the new checkpoint; of several layers, joined by "+".
    averaged: whether the averaged weights (EMA) were changed, and not the plain ones; None where it has none.
    files: the names of the files that differ from the old ones.
    left: the names of other weights in the old folder, which hold the old classifier and were not copied.
    """

    layer: str
    averaged: bool | None
    files: tuple[str, ...]
    left: tuple[str, ...]


def load_state(path: Path, *, ema: bool = False) -> OrderedDict[str, Tensor]:
    """The state dict in a checkpoint, as ``model.load_state_dict`` takes it, on the CPU.

    path: a file or folder in one of the layouts above; nothing in it is ever executed
    ema: the averaged weights (EMA), which some training programs keep beside the plain ones

    Raises FileNotFoundError for a missing file and ValueError, in one line, for one that is refused.
    """
    state = read_stored(Path(path), ema=ema).state()
    state.update({name: value.detach() for name, value in state.items()})  # a file may hold nn.Parameters
    return state


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the weights: equal where names, dtypes, shapes and bits are, in any order, on any device.

    state: a model's state dict; a "module." before every name does not count
    """
    wrapped = bool(state) and all(name.startswith(PREFIX) for name in state)
    sha = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu()
        bare = name.removeprefix(PREFIX) if wrapped else name
        # A JSON list shows where it ends, and this one how many bytes follow: no two states give one stream.
        sha.update(json.dumps([bare, str(value.dtype), list(value.shape)]).encode())
        sha.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def classifier_key(state: Mapping[str, Tensor], shape: tuple[int, int]) -> str:
    """The name of the layer whose weight is (K, D) or (K, D, 1, 1), such as "fc" for "fc.weight".

    state: a state dict
    shape: (K, D)

    Raises ValueError where no layer fits, or two do.
    """
    return layer_of_shape(state, shape)


def read_classifier(
    path: Path, *, layer: str, terms: Sequence[Mapping[str, Any]] = (), ema: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The classifier in a checkpoint: its weight (K, D) and bias (K,), or None for the bias where there is none.

    They have the dtype of the file; a 1x1 convolution's weight is (K, D) here. What several layers amount to, or one
    with a factor, is in float64.

    path: a file or folder in one of the layouts above
    layer: the classifier's name, see replace_in_checkpoint
    terms: the layers it is made of, see there
    ema: the averaged weights (EMA)

    Raises FileNotFoundError for a missing file and ValueError where there is no such classifier.
    """
    try:
        weight, bias = held(load_state(path, ema=ema), layer, terms)
    except ValueError as error:
        raise _of(Path(path), error) from None
    return weight.clone(), None if bias is None else bias.clone()


def replace_in_checkpoint(
    into: Path,
    out: Path,
    *,
    layer: str | None = None,
    recorded: str | None = None,
    weight: Tensor,
    bias: Tensor | None,
    expected: str | None = None,
    terms: Sequence[Mapping[str, Any]] = (),
) -> Replaced:
    """Writes the checkpoint again with another classifier; all else in it is kept, bit for bit.

    Keys, their order, nesting, prefix, dtypes, versions and metadata are those of ``into``. The file or folder appears
    under its name when it is whole and on the disk. Of a folder all files are copied, and only the one that holds the
    classifier is written anew: it is in the weights that a loader takes. Other weights of the folder, in another
    format or precision, would keep the old classifier and are not copied; nor are hidden folders.

    into: the checkpoint to read
    out: the file to write, of the same kind as ``into`` and another file; for a folder, the name of a new one
    layer: the classifier's name, as in ``model.named_modules()``; in the file it may stand behind the names of what the
        model was wrapped in, such as "model.fc"
    recorded: the same, as the cache recorded it; where the file has no such layer, or neither is given, the classifier
        is the one layer of that shape, or the one of them that is expected
    weight: (K, D), finite
    bias: (K,), finite, or None for zeros, which are written where the file has a bias
    expected: digest of the weight and bias that the file must hold now, see featurecache.storage.head_digest: the
        classifier the features belong to
    terms: the layers the classifier is made of, as a head remembers them (featurecache.classifying.terms.Term as
        objects), among which the new one is divided; empty for one plain layer

    Where the file holds averaged weights (EMA) beside the plain ones, those are written to that hold the expected
    classifier; the plain ones if both do, or nothing is expected.

    Raises ValueError where the file holds another classifier than expected or has no place for this one.
    """
    into, out = Path(into), Path(out)
    check_target(into, out)
    new = NewClassifier(weight, bias, layer, recorded, expected, terms)
    stored, averaged, name, tensors = _placed(into, new)
    changed: dict[Path, dict[str, Tensor]] = {}
    for tensor, value in tensors.items():
        changed.setdefault(stored.file_of(tensor), {})[tensor] = value
    left: list[str] = []
    if stored.folder is None:
        with replacing(out) as part:
            rewrite(into, stored.files[into], changed[into], part)
    else:
        names, left = files_to_copy(stored.folder)
        with new_folder(out) as part:
            for file in names:
                (part / file).parent.mkdir(parents=True, exist_ok=True)
                if into / file in changed:
                    rewrite(into / file, stored.files[into / file], changed[into / file], part / file)
                else:
                    copy_file(into / file, part / file)
    written = [out.name] if stored.folder is None else [path.name for path in changed]
    return Replaced(name, averaged, tuple(written), tuple(left))


def _placed(into: Path, new: NewClassifier) -> tuple[Stored, bool | None, str, dict[str, Tensor]]:
    """The checkpoint as it was read, whether averaged weights of it, the classifier's name and its new tensors."""
    averaged = None
    try:
        stored = read_stored(into)
        both = any(has_both(file.root) for file in stored.files.values())
    except ValueError:
        averaged = _averaged(into)  # there may be no others
        if averaged is None:
            raise
        stored, both = averaged, False
    try:
        return stored, averaged is not None or (False if both else None), *placed(stored.state(), new)
    except ValueError as error:
        refusal = _of(into, error)
    if both and (averaged := _averaged(into)) is not None:
        with suppress(ValueError):
            return averaged, True, *placed(averaged.state(), new)
    raise refusal


def _averaged(into: Path) -> Stored | None:
    """The averaged weights of a file; None where it has none that can be read."""
    try:
        return read_stored(into, ema=True)
    except ValueError:
        return None


def _of(path: Path, error: ValueError) -> ValueError:
    """The error with the checkpoint's name, once."""
    return error if shown(path) in str(error) else ValueError(f"{shown(path)}: {error}")


def check_target(into: Path, out: Path) -> None:
    """ValueError unless a new checkpoint can be written to ``out``: of the same kind as ``into``, and no part of it."""
    if into.is_dir():
        _check_folders(into, out)
        return
    if is_safetensors(into) != is_safetensors(out):
        raise ValueError(f"{shown(out)} is another kind of file than {shown(into)}: use the same ending")
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"{shown(out)} cannot be written: expected a file's name in an existing folder")
    for target in (out, part_name(out)):
        if target.exists() and into.exists() and os.path.samefile(target, into):
            raise ValueError(f"{shown(out)} would replace the checkpoint itself: give another name")


def _check_folders(into: Path, out: Path) -> None:
    if out.exists() and os.path.samefile(out, into):
        raise ValueError(f"{shown(out)} would replace the checkpoint itself: give another name")
    if out.exists() or out.is_symlink():
        raise ValueError(f"{shown(out)} is there already; {shown(into)} is a folder: give the name of a new one")
    if out.suffix.lower() in ENDINGS:
        raise ValueError(f"{shown(out)} is a file's name and {shown(into)} a folder: give the name of a new folder")
    if not out.parent.is_dir():
        raise ValueError(f"{shown(out)} cannot be written: expected a new name in an existing folder")
    if out.parent.resolve().is_relative_to(into.resolve()):
        raise ValueError(f"{shown(out)} lies in {shown(into)}, which is copied: give a name outside of it")
