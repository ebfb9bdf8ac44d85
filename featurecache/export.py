"""A classifier as a program that runs without the code it was written in: torch.export (.pt2) and ONNX (.onnx).

Both take any number of rows and give logits (B, K) in one tensor. What is to be known of them, such as the names of
the classes, is in the file: in ``about.json``, an extra file of the archive, or in ONNX's metadata.

    program = torch.export.load("head.pt2").module()          # (B, D) -> (B, K)
    session = onnxruntime.InferenceSession("head.onnx")
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from featurecache.disk import part_name, publish, replacing
from featurecache.exporting.agreement import Agreement, agreement, together
from featurecache.exporting.archive import open_archive, write_archive
from featurecache.exporting.onnx_file import DATA, need_onnx, open_onnx, write_onnx
from featurecache.exporting.program import Program
from featurecache.exporting.tracing import traced
from featurecache.quoting import shown

ARCHIVE, ONNX = ".pt2", ".onnx"  # the endings

__all__ = [
    "Agreement",
    "Program",
    "agreement",
    "export_onnx",
    "export_program",
    "need_onnx",
    "open_program",
    "together",
]


def export_program(
    module: nn.Module,
    example: Tensor,
    path: Path,
    *,
    about: Mapping[str, Any] | None = None,
    check: Callable[[Program], None] | None = None,
) -> None:
    """Writes the module as a torch.export program; the file appears under its name when it is whole and checked.

    module: from one tensor to logits, alone or in what `featurecache.proof.logits_of` reads; it stays as it is.
    example: (2 or more, …), an input of which only the shape and dtype matter.
    path: the file, which ends in .pt2; one that is there is replaced.
    about: plain JSON values to store in it.
    check: called with the program, read back from the file; what it raises leaves nothing under that name.

    Raises ValueError, in one line, when the module cannot be written so.
    """
    path = Path(path)
    check_path(path, ARCHIVE)
    program = traced(module, example)
    with replacing(path) as part:
        write_archive(program, part, about or {})
        if check is not None:
            check(open_archive(part))


def export_onnx(
    module: nn.Module,
    example: Tensor,
    path: Path,
    *,
    about: Mapping[str, Any] | None = None,
    check: Callable[[Program], None] | None = None,
    name: str = "inputs",
) -> int:
    """Writes the module as ONNX and returns its opset; the file appears under its name when it is whole and checked.

    Weights of more than 2 GB lie beside it, in a file called as it and ".data".

    module, example, about, check: as in `export_program`. path: the file, which ends in .onnx. name: of the input.

    Raises ValueError, in one line, when the module cannot be written so; ImportError without the packages.
    """
    path = Path(path)
    check_path(path, ONNX)
    need_onnx()
    program = traced(module, example)
    folder = part_name(path)  # for the name of a second file is in the first
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        opset = write_onnx(program, folder / path.name, about or {}, name=name)
        if check is not None:
            check(open_onnx(folder / path.name))
        beside = f"{path.name}{DATA}"
        for each in (beside, path.name):
            if (folder / each).exists():
                publish(folder / each, path.with_name(each))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return opset


def open_program(path: Path) -> Program:
    """A program that `export_program` or `export_onnx` wrote, ready to run; its ending says which.

    Raises ValueError when it is none, OSError when it cannot be read, ImportError where ONNX Runtime is missing.
    """
    path = Path(path)
    if path.suffix not in (ARCHIVE, ONNX):
        raise ValueError(f"program {shown(path)}: expected a file that ends in {ARCHIVE} or {ONNX}")
    return open_archive(path) if path.suffix == ARCHIVE else open_onnx(path)


def check_path(path: Path, ending: str) -> None:
    """ValueError unless a program can be written there. ending: that the name must have."""
    if path.suffix != ending:
        raise ValueError(f"program {shown(path)}: expected a name that ends in {ending}")
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"program {shown(path)} cannot be written: expected a file's name in an existing folder")
