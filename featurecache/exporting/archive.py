"""A torch.export program as a file (.pt2), written and opened.

PyTorch reads such a file with pickle wherever the file asks for it, and evaluates texts in it. Here a file is opened
only when nothing in it asks for either.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import Tensor

from featurecache.disk import opened
from featurecache.exporting.program import Program
from featurecache.exporting.tracing import quiet
from featurecache.python_function import failure
from featurecache.quoting import shown

if TYPE_CHECKING:
    from torch.export import ExportedProgram

ABOUT = "about.json"
LARGEST_TEXT = 2**28  # bytes of a graph: one of thousands of layers has some 2**24
SYMBOL = re.compile(r"Symbol\('\w+'(?:, \w+=(?:True|False))*\)")
# Names of SymPy's classes, and numbers: nothing that could be called to any effect.
EXPRESSION = re.compile(r"(?:[A-Z][A-Za-z]*|int_oo|oo|\d+|[\s+*/(),<>=-])*")


class Postponing(io.RawIOBase):
    """Writes to a file, and keeps the first error for later: PyTorch's writer of archives ends the process at one.

    error: that error, or None.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Where the file is; PyTorch goes to its beginning when all is written, and nothing is written then."""
        return self._file.tell() if self.error is None else offset


def write_archive(program: ExportedProgram, path: Path, about: Mapping[str, Any]) -> None:
    """Writes the program and what is to be known of it.

    path: any name. about: plain JSON values.

    Raises OSError when it cannot be written.
    """
    with path.open("wb") as file:  # not by path: PyTorch would write the name into the file
        stream: Any = Postponing(file)
        with quiet():
            torch.export.save(program, stream, extra_files={ABOUT: json.dumps(dict(about))})
    if stream.error is not None:
        raise OSError(stream.error.errno, stream.error.strerror, str(path))


def open_archive(path: Path) -> Program:
    """The program in a file that `write_archive` made, in eval mode on the CPU.

    path: any name.

    Raises ValueError when it is no such file, or holds anything that PyTorch would unpickle or evaluate; OSError when
    it cannot be read.
    """
    with opened(path) as file:
        try:
            about = _checked(file)
            file.seek(0)
            with quiet():
                program = torch.export.load(io.BytesIO(file.read()))
            (name,) = program.graph_signature.user_inputs
            given = next(node for node in program.graph.nodes if node.name == name).meta["val"]
            module = program.module()
        except (OSError, MemoryError):
            raise
        except Exception as error:  # whatever PyTorch and zipfile make of a file that is damaged
            raise ValueError(f"program {shown(path)} cannot be read: {failure(error)}") from error

    def run(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = module(inputs.to(given.dtype))
        return logits

    return Program(tuple(int(size) for size in given.shape[1:]), about, run)


def _checked(file: Any) -> dict[str, Any]:
    """What is stored with a program, after a look at all that PyTorch would do more with than read numbers."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()):  # PyTorch would read the one, and this the other
            raise ValueError("two entries in it have one name")

        def text(name: str) -> Any:
            if name not in entries or entries[name].file_size > LARGEST_TEXT:
                raise ValueError(f"it has no {name} of a usual size")
            return json.loads(archive.read(entries[name]))

        for name in entries:
            if name.endswith("_config.json"):
                _check_tensors(text(name))
            elif name.startswith("data/sample_inputs/"):
                torch.load(io.BytesIO(archive.read(entries[name])), weights_only=True)
            elif name.startswith("models/") and name.endswith(".json"):
                _check_expressions(text(name))
            elif not re.fullmatch(
                r"data/weights/weight_\d+|data/constants/tensor_\d+|extra/[^/]+|\.data/\w+|\w+", name
            ):
                raise ValueError(f"it holds {shown(name)}, which no program needs that this program wrote")
        found = text(f"extra/{ABOUT}")
    if not isinstance(found, dict):
        raise ValueError(f"its {ABOUT} is no JSON object")
    return found


def _check_tensors(config: Any) -> None:
    for name, tensor in config["config"].items():
        plain = re.fullmatch(r"(?:weight|tensor)_\d+", tensor["path_name"])
        if tensor["use_pickle"] or tensor["tensor_meta"] is None or not plain:
            raise ValueError(f"its {shown(name)} is a pickle, which may run anything; expected a plain tensor")


def _check_expressions(value: Any) -> None:
    """ValueError when a text that SymPy would evaluate is more than a size."""
    if isinstance(value, list):
        for item in value:
            _check_expressions(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "expr_str" and not (isinstance(item, str) and EXPRESSION.fullmatch(SYMBOL.sub("1", item))):
                raise ValueError(f"a size in it is {shown(item)}; expected a number")
            _check_expressions(item)
