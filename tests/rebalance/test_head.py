"""The head computes what its module computes, and refuses what is not a head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rebalance import GatedHead, LinearHead, NormalizedHead
from rebalance.head import GatedLinear, NormalizedLinear, normalize

RECORD = {"method": "tau_norm", "hyperparameters": {"tau": 0.5, "bias": "drop"}, "interval": [None, 1.5], "n": 3}


def random_head(kind: type[LinearHead] = LinearHead, seed: int = 0) -> LinearHead:
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(5, 8, generator=generator), torch.randn(5, generator=generator)
    if kind is NormalizedHead:
        return NormalizedHead(weight, bias, RECORD, torch.randn(8, generator=generator))
    if kind is GatedHead:
        scale, offset, gate = (torch.randn(size, generator=generator) for size in (5, 5, 8))
        return GatedHead(weight, bias, RECORD, scale, offset, gate, torch.tensor(-0.5))
    return LinearHead(weight, bias, RECORD)


every_kind = pytest.mark.parametrize("kind", [LinearHead, NormalizedHead, GatedHead])
MODULES = {LinearHead: nn.Linear, NormalizedHead: NormalizedLinear, GatedHead: GatedLinear}


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


def test_gated_logits_mix_the_plain_and_the_corrected_ones_by_row(problem: Any) -> None:
    head = random_head(GatedHead)
    assert isinstance(head, GatedHead)
    tensors = {name: tensor.double().numpy() for name, tensor in head.tensors().items()}
    x = problem.features.double().numpy()
    plain = x @ tensors["weight"].T + tensors["bias"]
    corrected = tensors["scale"] * plain + tensors["offset"]
    share = 1 / (1 + np.exp(-(x @ tensors["gate"] + tensors["gate_bias"])))
    assert share.min() < 0.2 < 0.8 < share.max()  # the gate is not idle
    expected = share[:, None] * corrected + (1 - share[:, None]) * plain
    np.testing.assert_allclose(head(problem.features).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("level", [-1.0, 1.0])
def test_a_gate_far_open_or_shut_leaves_one_of_them(level: float, problem: Any) -> None:
    plain = random_head()
    scale, offset = torch.linspace(0.5, 2, 5), torch.linspace(-1, 1, 5)
    head = GatedHead(plain.weight, plain.bias, scale=scale, offset=offset, gate_bias=torch.tensor(1e4 * level))
    z = plain(problem.features)
    torch.testing.assert_close(head(problem.features), scale * z + offset if level > 0 else z)


def test_a_gated_head_without_a_correction_is_linear(problem: Any) -> None:
    head = random_head()
    gated = GatedHead(head.weight, head.bias, gate=torch.ones(8))
    torch.testing.assert_close(gated(problem.features), head(problem.features))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", torch.ones(2)),
        ("offset", torch.tensor([0.0, 0.0, torch.inf])),
        ("gate", torch.zeros(3)),
        ("gate", torch.tensor([0.0, torch.nan])),
        ("gate_bias", torch.zeros(1)),
        ("gate_bias", torch.tensor(torch.nan)),
    ],
)
def test_no_gate_of_wrong_shape_or_numbers(name: str, value: Any, refuses: Any) -> None:
    with refuses(f"head {name} "):
        GatedHead(torch.zeros(3, 2), **{name: value})


def test_a_gated_module_takes_batches_of_any_shape(problem: Any) -> None:
    head = random_head(GatedHead)
    with torch.no_grad():
        out = head.to_module()(problem.features[:12].view(3, 4, 8))
    torch.testing.assert_close(out.view(12, 5), head(problem.features[:12]))


@every_kind
def test_module_computes_the_same_logits(kind: type[LinearHead], problem: Any) -> None:
    head = random_head(kind)
    module = head.to_module()
    assert type(module) is MODULES[kind]
    assert (module.in_features, module.out_features) == (8, 5)
    with torch.no_grad():
        torch.testing.assert_close(module(problem.features), head(problem.features))


@every_kind
def test_module_is_float32_whatever_the_default(kind: type[LinearHead]) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        module = random_head(kind).to_module()
    finally:
        torch.set_default_dtype(torch.float32)
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32}


@every_kind
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


@every_kind
def test_a_head_is_frozen(kind: type[LinearHead]) -> None:
    """Training the layer it was taken from goes on without it."""
    weight, bias = torch.ones(2, 3), torch.ones(2)
    head = kind(weight, bias)
    weight.zero_()
    bias.zero_()
    assert bool((head.weight == 1).all())
    assert bool((head.bias == 1).all())


@every_kind
def test_float16_map_gives_the_logits_of_its_numbers(kind: type[LinearHead], problem: Any, float16_map: Any) -> None:
    head = random_head(kind)
    assert torch.equal(head(float16_map), head(problem.features))


@every_kind
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


@every_kind
def test_features_of_another_width_are_refused(kind: type[LinearHead], refuses: Any) -> None:
    with refuses("9 wide", "takes 8"):
        random_head(kind)(torch.zeros(4, 9))
    with refuses(r"\(8,\)"):
        random_head(kind)(torch.zeros(8))


@every_kind
def test_moving_keeps_everything(kind: type[LinearHead]) -> None:
    head = random_head(kind)
    moved = head.to("cpu")
    assert type(moved) is kind
    assert moved.record == head.record
    assert all(torch.equal(moved.tensors()[name], tensor) for name, tensor in head.tensors().items())


@pytest.mark.cuda
@every_kind
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
