"""A program as ONNX: written by PyTorch's converter, opened by ONNX Runtime."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from featurecache.exporting.program import Program
from featurecache.exporting.tracing import BATCH, quiet
from featurecache.python_function import failure
from featurecache.quoting import shown

if TYPE_CHECKING:
    from torch.export import ExportedProgram

LARGEST = 2**31 - 2**24  # bytes of one file, which Protocol Buffers limit; the graph needs some beside the weights
DATA = ".data"  # the ending of the file beside it that holds the weights of larger models
OUTPUT = "logits"


def need_onnx() -> None:
    """ImportError, in one line, where a package is missing that writes or runs ONNX."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"ONNX needs onnx, onnxscript and onnxruntime ({failure(error)[:160]}): "
            "pip install 'featurecache-rebalance[onnx]'"
        ) from error


def write_onnx(program: ExportedProgram, path: Path, about: Mapping[str, Any], *, name: str) -> int:
    """Writes the program as ONNX and returns the version of its operators (opset).

    One file; where the weights are larger than that may be, a second one, called as this and ".data".

    path: where to write. about: plain JSON values, which become the file's metadata, each as JSON. name: of the input.

    Raises ValueError, in one line, when an operation has no counterpart in ONNX.
    """
    need_onnx()
    try:
        with quiet(), _silent("torch.onnx", "onnxscript", "onnx_ir"):
            converted: Any = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=[name],
                output_names=[OUTPUT],
                dynamic_shapes=({0: BATCH},),
            )
    except Exception as error:  # the converter's own, of pages
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise ValueError(f"the program cannot be written as ONNX: {failure(cause)}") from error
    model = converted.model
    model.metadata_props.update({key: json.dumps(value) for key, value in about.items()})
    converted.save(path, external_data=_weight_bytes(program) > LARGEST)
    return int(model.opset_imports[""])


def open_onnx(path: Path) -> Program:
    """The program in an ONNX file of one input and one output, to be run by ONNX Runtime on the CPU.

    path: any name.

    Raises ValueError when it is no such file, ImportError without ONNX Runtime.
    """
    need_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; the warnings are about the converter's ways
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own, of a dozen types
        raise ValueError(f"program {shown(path)} cannot be read: {failure(error)}") from error
    (given, *more), outputs = session.get_inputs(), session.get_outputs()
    if more or len(outputs) != 1 or not all(isinstance(size, int) for size in given.shape[1:]):
        raise ValueError(
            f"program {shown(path)} has inputs {[each.shape for each in (given, *more)]} and {len(outputs)} outputs; "
            "expected one input of any number of rows, and the logits"
        )
    dtype = torch.float16 if given.type == "tensor(float16)" else torch.float32

    def run(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {given.name: inputs.to(dtype).numpy()})[0])

    return Program(tuple(given.shape[1:]), _about(session.get_modelmeta().custom_metadata_map), run)


def _about(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The metadata, each entry read as JSON; text that is none (another program's) stays as it is."""
    found: dict[str, Any] = {}
    for key, text in metadata.items():
        try:
            found[key] = json.loads(text)
        except (ValueError, RecursionError):
            found[key] = text
    return found


def _weight_bytes(program: ExportedProgram) -> int:
    tensors = (*program.state_dict.values(), *program.constants.values())
    return sum(each.numel() * each.element_size() for each in tensors if isinstance(each, Tensor))


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """These loggers say nothing below an error inside the block."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
