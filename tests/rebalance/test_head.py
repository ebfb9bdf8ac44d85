"""The head computes what its module computes, survives a file, and refuses what is not a head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from rebalance import LinearHead, NormalizedHead, load_head
from rebalance.head import NormalizedLinear, normalize

RECORD = {"method": "tau_norm", "hyperparameters": {"tau": 0.5, "bias": "drop"}, "interval": [None, 1.5], "n": 3}


def random_head(kind: type[LinearHead] = LinearHead, seed: int = 0) -> LinearHead:
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(5, 8, generator=generator), torch.randn(5, generator=generator)
    if kind is NormalizedHead:
        return NormalizedHead(weight, bias, RECORD, torch.randn(8, generator=generator))
    return LinearHead(weight, bias, RECORD)


both_kinds = pytest.mark.parametrize("kind", [LinearHead, NormalizedHead])


def test_linear_logits_are_an_affine_map(problem: Any) -> None:
    head = random_head()
    expected = problem.features.double() @ head.weight.double().T + head.bias.double()
    # float32 sums of 8 products of numbers below 10: relative errors of about 1e-6.
    torch.testing.assert_close(head(problem.features).double(), expected, rtol=1e-5, atol=1e-5)


def test_normalized_logits_are_those_of_the_direction_from_the_centre(problem: Any) -> None:
    head = random_head(NormalizedHead)
    assert isinstance(head, NormalizedHead)
    shifted = (problem.features - head.center).double().numpy()
    rows = shifted / np.sqrt((shifted**2).sum(axis=1, keepdims=True))
    expected = rows @ head.weight.double().numpy().T + head.bias.double().numpy()
    np.testing.assert_allclose(head(problem.features).numpy(), expected, rtol=1e-5, atol=1e-5)


@both_kinds
def test_module_computes_the_same_logits(kind: type[LinearHead], problem: Any) -> None:
    head = random_head(kind)
    module = head.to_module()
    assert isinstance(module, nn.Linear if kind is LinearHead else NormalizedLinear)
    assert (module.in_features, module.out_features) == (8, 5)
    with torch.no_grad():
        torch.testing.assert_close(module(problem.features), head(problem.features))


@both_kinds
def test_module_is_float32_whatever_the_default(kind: type[LinearHead]) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        module = random_head(kind).to_module()
    finally:
        torch.set_default_dtype(torch.float32)
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32}


@both_kinds
def test_module_is_a_copy_that_can_be_trained(kind: type[LinearHead], problem: Any) -> None:
    head = random_head(kind)
    before = head.weight.clone()
    module = head.to_module()
    module(problem.features).sum().backward()
    assert isinstance(module.weight, nn.Parameter)
    assert module.weight.grad is not None
    with torch.no_grad():
        module.weight.zero_()
    assert torch.equal(head.weight, before)


@both_kinds
def test_a_head_is_frozen(kind: type[LinearHead]) -> None:
    """Training the layer it was taken from goes on without it."""
    weight, bias = torch.ones(2, 3), torch.ones(2)
    head = kind(weight, bias)
    weight.zero_()
    bias.zero_()
    assert bool((head.weight == 1).all())
    assert bool((head.bias == 1).all())


@both_kinds
def test_float16_map_gives_the_logits_of_its_numbers(kind: type[LinearHead], problem: Any, float16_map: Any) -> None:
    head = random_head(kind)
    assert torch.equal(head(float16_map), head(problem.features))


@both_kinds
def test_array_like_in_slices_gives_the_same_logits(
    kind: type[LinearHead], problem: Any, slice_only: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = random_head(kind)
    whole = head(problem.features)
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 7 * 8 * 4)  # seven rows a block
    # Blocks of another size may add up in another order.
    torch.testing.assert_close(head(slice_only(problem.features.numpy())), whole)


def test_no_rows_give_no_logits() -> None:
    assert random_head()(torch.zeros(0, 8)).shape == (0, 5)


def test_without_a_bias_it_is_zero_and_saved() -> None:
    head = LinearHead(torch.ones(2, 3))
    assert torch.equal(head.bias, torch.zeros(2))
    assert set(head.tensors()) == {"weight", "bias"}


def test_weight_and_bias_become_float32_without_gradient() -> None:
    layer = nn.Linear(3, 2).double()
    head = LinearHead(layer.weight, layer.bias)
    assert head.weight.dtype == head.bias.dtype == torch.float32
    assert not head.weight.requires_grad


def test_a_read_only_array_makes_a_head() -> None:
    weight = np.ones((2, 3), np.float32)
    weight.flags.writeable = False
    assert torch.equal(LinearHead(weight, np.zeros(2)).weight, torch.ones(2, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weight", "bias", "parts"),
    [
        (torch.zeros(3), None, ["weight", r"\(3,\)", r"\(K, D\)"]),
        (torch.zeros(0, 3), None, ["weight", r"\(0, 3\)"]),
        (torch.zeros(2, 3), torch.zeros(3), ["bias", r"\(3,\)", r"\(2,\)"]),
        (torch.full((2, 3), torch.nan), None, ["weight", "NaN"]),
        (torch.zeros(2, 3), torch.tensor([0.0, torch.inf]), ["bias", "infinity"]),
        (torch.full((2, 3), 1e300, dtype=torch.float64), None, ["weight", "infinity"]),
    ],
)
def test_no_head_of_wrong_shape_or_numbers(weight: Any, bias: Any, parts: list[str], refuses: Any) -> None:
    with refuses(*parts):
        LinearHead(weight, bias)


@pytest.mark.parametrize("center", [torch.zeros(2), torch.tensor([0.0, torch.nan, 0.0])])
def test_no_centre_of_wrong_shape_or_numbers(center: Any, refuses: Any) -> None:
    with refuses("center"):
        NormalizedHead(torch.zeros(2, 3), center=center)


@both_kinds
def test_features_of_another_width_are_refused(kind: type[LinearHead], refuses: Any) -> None:
    with refuses("9 wide", "takes 8"):
        random_head(kind)(torch.zeros(4, 9))
    with refuses(r"\(8,\)"):
        random_head(kind)(torch.zeros(8))


@both_kinds
def test_moving_keeps_everything(kind: type[LinearHead]) -> None:
    head = random_head(kind)
    moved = head.to("cpu")
    assert type(moved) is kind
    assert moved.record == head.record
    assert all(torch.equal(moved.tensors()[name], tensor) for name, tensor in head.tensors().items())


@pytest.mark.cuda
@both_kinds
def test_on_a_gpu_it_computes_there(kind: type[LinearHead], problem: Any) -> None:
    head = random_head(kind)
    logits = head.to("cuda")(problem.features)
    assert logits.device.type == "cuda"
    # TF32 is off by default: float32 on both sides, added up in another order.
    torch.testing.assert_close(logits.cpu(), head(problem.features), rtol=1e-4, atol=1e-4)


def test_with_record_adds_to_a_copy() -> None:
    head = random_head()
    more = head.with_record(split="val")
    assert more.record == {**RECORD, "split": "val"}
    assert head.record == RECORD


@both_kinds
def test_file_round_trip(kind: type[LinearHead], tmp_path: Path) -> None:
    head = random_head(kind)
    head.save(tmp_path / "head.safetensors")
    loaded = load_head(tmp_path / "head.safetensors")
    assert type(loaded) is kind
    assert loaded.record == RECORD
    assert loaded.tensors().keys() == head.tensors().keys()
    assert all(torch.equal(loaded.tensors()[name], tensor) for name, tensor in head.tensors().items())
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]


@both_kinds
def test_file_is_the_state_dict_of_the_module(kind: type[LinearHead], tmp_path: Path, problem: Any) -> None:
    head = random_head(kind)
    head.save(tmp_path / "head.safetensors")
    module = random_head(kind, seed=1).to_module()
    module.load_state_dict(load_file(tmp_path / "head.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(module(problem.features), head(problem.features))


def test_file_needs_only_torch_and_safetensors(tmp_path: Path) -> None:
    head = random_head()
    head.save(tmp_path / "head.safetensors")
    linear = nn.Linear(8, 5)
    linear.load_state_dict(load_file(tmp_path / "head.safetensors"))
    assert torch.equal(linear.weight, head.weight)
    with safe_open(tmp_path / "head.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["hyperparameters"]) == RECORD["hyperparameters"]


def test_a_linear_layer_saved_elsewhere_is_a_head(tmp_path: Path) -> None:
    linear = nn.Linear(8, 5)
    save_file(linear.state_dict(), tmp_path / "layer.safetensors", metadata={"format": "pt", "author": "somebody"})
    head = load_head(tmp_path / "layer.safetensors")
    assert torch.equal(head.weight, linear.weight)
    assert head.record == {"author": "somebody"}


def test_saving_replaces_a_file_and_leaves_it_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    random_head().save(path)
    random_head(seed=1).save(path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        random_head().with_record(value=object()).save(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3).filter(lambda row: max(map(abs, row)) > 1e-3),
    st.sampled_from([1e-30, 1e-10, 1.0, 1e10, 1e20, 1e37]),
)
def test_normalized_rows_have_length_one_at_any_scale(row: list[float], scale: float) -> None:
    out = normalize(torch.tensor([row], dtype=torch.float32) * scale).double()
    direction = np.array(row) / np.linalg.norm(row)
    # Three roundings of float32 on the way, each 6e-8; below 1e-38 the entries themselves are rounded.
    np.testing.assert_allclose(out[0].numpy(), direction, atol=1e-6)


def test_a_row_of_zeros_stays_zero() -> None:
    assert torch.equal(normalize(torch.zeros(2, 3)), torch.zeros(2, 3))
