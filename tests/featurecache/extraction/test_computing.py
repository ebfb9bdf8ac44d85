"""How a model is run: prepared as asked, left as it was, and every choice that matters recorded."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from featurecache.classifier import find_classifier
from featurecache.extraction.computing import Computing
from featurecache.extraction.forward import Forward

CPU = torch.device("cpu")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


@pytest.fixture
def tf32() -> Iterator[None]:
    """TF32 as PyTorch has it, whatever the test does."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_what_decides_the_numbers_is_told_from_what_decides_their_last_bits() -> None:
    assert Computing(CPU).precision is None
    assert Computing(CPU).last_bits == {}
    assert Computing(CPU, amp="bf16").precision == "bf16"
    assert Computing(CPU, tf32=True).precision is None  # there is none on a CPU
    assert Computing(torch.device("cuda"), tf32=True).precision == "tf32"
    assert Computing(torch.device("cuda"), amp="fp16", tf32=True).precision == "fp16+tf32"
    assert Computing(torch.device("cuda")).last_bits == {"tf32": False}
    assert Computing(CPU, channels_last=True, compile=True).last_bits == {"channels_last": True, "compile": True}


def test_an_unknown_amp_is_refused(refused: Any) -> None:
    with refused("amp is 'bf8'", "off, bf16 or fp16"):
        Computing(CPU, amp="bf8")


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_a_model_is_left_as_it_was(channels_last: bool, fails: bool) -> None:
    model = network().train()
    model[1].eval()  # a frozen batch normalisation
    before = copy.deepcopy(model.state_dict())
    strides = {name: value.stride() for name, value in model.state_dict().items()}
    identities = {name: id(value) for name, value in model.named_parameters()}
    try:
        with Computing(CPU, channels_last=channels_last).prepared(model):
            assert not any(module.training for module in model.modules())
            assert model[0].weight.is_contiguous(memory_format=torch.channels_last) == channels_last
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert [module.training for module in model] == [True, False, True, True, True]
    assert {name: value.stride() for name, value in model.state_dict().items()} == strides
    assert {name: id(value) for name, value in model.named_parameters()} == identities
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("asked", [False, True])
def test_tf32_is_what_was_asked_for_and_comes_back(asked: bool) -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
    with Computing(CPU, tf32=asked).prepared(network()):
        assert torch.backends.cudnn.allow_tf32 is asked
        assert torch.backends.cuda.matmul.allow_tf32 is asked
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (True, False)


@pytest.mark.parametrize(("amp", "dtype"), [("off", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_is_as_asked_and_there_are_no_gradients(amp: str, dtype: torch.dtype) -> None:
    model = network()
    with Computing(CPU, amp=amp).inference():
        output = model(torch.ones(2, 3, 8, 8))
    assert output.dtype == dtype
    assert output.is_inference()
    assert model(torch.ones(2, 3, 8, 8)).requires_grad


@pytest.mark.cuda
def test_a_model_comes_back_from_a_gpu() -> None:
    model = network()
    with Computing(torch.device("cuda"), channels_last=True).prepared(model):
        assert all(value.is_cuda for value in model.state_dict().values())
    assert not any(value.is_cuda for value in model.state_dict().values())
    assert all(value.is_contiguous() for value in model.state_dict().values())


def test_the_features_of_a_model_that_was_compiled_before_are_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend="eager"))
    model, images = network().eval(), torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        torch.compile(model)(images)
    computing = Computing(CPU, compile=True)
    forward = Forward(model, find_classifier(model, images), computing)
    with computing.prepared(model), forward.ready():
        torch.testing.assert_close(forward(images, 2, 2).features, model[:4](images), rtol=1e-5, atol=1e-6)
