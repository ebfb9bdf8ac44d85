"""Weights as they lie on the disk: in a file, or in the files of a model folder."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from featurecache.exporting.model_folder import INDEX, ModelFolder, model_folder
from featurecache.exporting.shard_index import check_shards
from featurecache.quoting import shown
from featurecache.weights_file import WeightsFile, read_weights


@dataclass(frozen=True, eq=False)
class Stored:
    """Weights in memory, and the files that they came from.

    path: the file or the folder.
    files: what was read, by the paths of the files.
    folder: where its weights are, or None for a file.
    """

    path: Path
    files: dict[Path, WeightsFile]
    folder: ModelFolder | None

    def state(self) -> OrderedDict[str, Tensor]:
        """A new state dict with a model's names, of all files.

        Raises ValueError where the paper's scales belong to no classifier.
        """
        try:
            state, *others = (file.state() for file in self.files.values())
        except ValueError as error:
            raise ValueError(f"checkpoint {shown(self.path)}: {error}") from None
        for other in others:
            state.update(other)
            vars(state).setdefault("_metadata", OrderedDict()).update(getattr(other, "_metadata", {}))
        return state

    def file_of(self, name: str) -> Path:
        """The path of the file that holds a tensor.

        name: as in state()
        """
        return next(path for path, file in self.files.items() if file.holds(name))


def read_stored(path: Path, *, ema: bool = False) -> Stored:
    """The weights in a file or folder, checked as in read_weights.

    path: a weights file, or a model folder.
    ema: the averaged weights, where a file has them beside the plain ones.
    Raises FileNotFoundError for what is missing and ValueError, in one line, for what is refused.
    """
    if not path.is_dir():
        if INDEX.search(path.name):
            raise ValueError(f"checkpoint {shown(path)} is the index of a model in shards; give the folder it lies in")
        return Stored(path, {path: read_weights(path, ema=ema)}, None)
    folder = model_folder(path)
    files = {path / name: read_weights(path / name, ema=ema) for name in folder.files}
    if folder.index is not None:
        held = {file.name: set(read.parts[0].entries) for file, read in files.items()}
        check_shards(path / folder.index, folder.shards, held)
    if len({part.prefix for file in files.values() for part in file.parts}) > 1:
        files = {
            name: replace(file, parts=tuple(replace(p, prefix="") for p in file.parts)) for name, file in files.items()
        }
    return Stored(path, files, folder)
