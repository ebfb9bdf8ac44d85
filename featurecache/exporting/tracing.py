"""A module as a torch.export program: a graph of PyTorch's own operations, free of the Python it was written in."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from featurecache.proof import logits_of
from featurecache.python_function import failure

if TYPE_CHECKING:
    from torch.export import ExportedProgram

BATCH = "batch"  # the name of the one axis whose length is free
MADE_FROM = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


class Logits(nn.Module):
    """The logits (B, K) of a model, in whatever it returns them.

    model: any module that `featurecache.proof.logits_of` understands.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return logits_of(self.model(inputs))


def traced(module: nn.Module, example: Tensor) -> ExportedProgram:
    """The program of a module from one tensor to logits (B, K), for any number of rows from one.

    It computes on the CPU, in eval mode. It holds no paths and no names of classes of the machine it is made on.

    module: stays as it is. example: (2 or more, …), only whose shape and dtype matter.

    Raises ValueError, in one line, when the module cannot be written as a graph, or not for every number of rows.
    """
    own = Logits(copy.deepcopy(module).cpu().eval().requires_grad_(False))
    given = torch.zeros_like(example, device="cpu")
    try:
        with quiet(), torch.no_grad():
            rows = torch.export.Dim(BATCH, min=1)
            program = torch.export.export(own, (given,), dynamic_shapes=({0: rows},))
    except Exception as error:  # of dozens of types, some as long as a page
        raise ValueError(
            f"the {type(module).__name__[:80]} cannot be written as a program for any number of rows: {failure(error)}"
        ) from error
    for node in program.graph.nodes:
        for key in MADE_FROM:
            node.meta.pop(key, None)
    return program


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of PyTorch about itself inside the block; those of the caller stay as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
