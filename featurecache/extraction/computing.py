"""How a model is run: where, in which precision and memory order, compiled or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Computing:
    """How the model is run.

    device: where. amp: "off", "bf16" or "fp16", autocast to that dtype. tf32: float32 products on CUDA may drop 13 of
    24 bits. channels_last: convolutions in that order of memory. compile: by torch.compile.
    ValueError for an amp that is none of these.
    """

    device: torch.device
    amp: str = "off"
    tf32: bool = False
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.amp not in ("off", *AMP):
            raise ValueError(f"amp is {self.amp!r:.80}; expected off, {' or '.join(AMP)}")

    @property
    def precision(self) -> str | None:
        """What decides more than the last bits, as the cache's specification says it; None for plain float32."""
        rounded = [] if self.amp == "off" else [self.amp]
        if self.tf32 and self.device.type == "cuda":
            rounded.append("tf32")
        return "+".join(rounded) or None

    @property
    def last_bits(self) -> dict[str, Any]:
        """What decides the last bits beside device and threads, as ``made_with`` says it."""
        asked = {"channels_last": self.channels_last, "compile": self.compile}
        tf32 = {"tf32": self.tf32} if self.device.type == "cuda" else {}
        return {name: value for name, value in asked.items() if value} | tf32

    @contextmanager
    def prepared(self, model: nn.Module) -> Iterator[None]:
        """Eval mode, device, memory order and TF32 as asked inside the block; all as it was afterwards."""
        modes = [(module, module.training) for module in model.modules()]
        was_on = next((tensor.device for tensor in model.parameters()), self.device)
        with ExitStack() as last:
            last.enter_context(_tf32(self.tf32))
            last.callback(_set_modes, modes)
            last.callback(model.to, was_on)
            model.to(self.device).eval()
            if self.compile:
                # What was compiled before goes on without looking for hooks, and would leave ours out.
                torch.compiler.reset()
            if self.channels_last:
                ordered = [t for t in _tensors(model) if t.ndim == 4 and t.is_contiguous()]
                last.callback(_restore_order, ordered)
                model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from the stubs
            yield

    @contextmanager
    def inference(self) -> Iterator[None]:
        """No gradients, and autocast as asked: around one forward, for both hold for one thread only."""
        with torch.inference_mode(), self.autocast():
            yield

    def autocast(self) -> torch.autocast:
        """Autocast as asked."""
        dtype = AMP.get(self.amp)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def compiled(self, model: nn.Module) -> nn.Module:
        """The model as it is called in the pass."""
        if not self.compile:
            return model
        compiled: nn.Module = torch.compile(model)  # type: ignore[assignment]  # a module of a module
        return compiled


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    return itertools.chain(model.parameters(), model.buffers())


def _restore_order(tensors: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for tensor in tensors:
            tensor.data = tensor.data.contiguous()


def _set_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """PyTorch's default is TF32 for convolutions and not for products: here both, or neither."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
