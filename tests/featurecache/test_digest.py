"""The digest of weights: equal for equal weights, different for one bit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from featurecache.checkpoint import digest, load_state

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def states(draw: st.DrawFn) -> dict[str, Tensor]:
    """A state dict of up to six tensors, each of its own dtype and shape."""
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True))
    state = {}
    for name in names:
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        seed = torch.Generator().manual_seed(draw(st.integers(0, 100)))
        state[name] = torch.randint(0, 2, shape, generator=seed).to(draw(st.sampled_from(DTYPES)))
    return state


@given(state=states(), order=st.randoms(use_true_random=False))
def test_the_digest_ignores_order_prefix_and_strides(state: dict[str, Tensor], order: Any) -> None:
    names = list(state)
    order.shuffle(names)
    shuffled = {name: state[name] for name in names}
    wrapped = {f"module.{name}": value for name, value in shuffled.items()}
    strided = {name: value.t().contiguous().t() if value.ndim == 2 else value for name, value in state.items()}
    assert digest(state) == digest(shuffled) == digest(wrapped) == digest(strided)


@given(state=states(), data=st.data())
def test_the_digest_sees_one_bit(state: dict[str, Tensor], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(state)))
    value = state[name]
    if not value.numel() or value.dtype == torch.bool:
        return
    changed = value.clone()
    flat = changed.reshape(-1).view(torch.uint8)
    flat[data.draw(st.integers(0, len(flat) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert digest({**state, name: changed.reshape(value.shape)}) != digest(state)


@given(state=states())
def test_the_digest_sees_names_dtypes_and_shapes(state: dict[str, Tensor]) -> None:
    name, value = next(iter(state.items()))
    rest = {other: kept for other, kept in state.items() if other != name}
    others = [
        {**rest, name + "\0": value},
        {**rest, name: value[None]},
        {**rest, name: value.view(torch.int8) if value.dtype == torch.uint8 else value.to(torch.complex64)},
        rest,
    ]
    assert digest(state) not in {digest(other) for other in others}


def test_the_digest_of_a_model_is_that_of_its_file(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    torch.save({"state_dict": nn.DataParallel(model).state_dict()}, tmp_path / "w.pt")
    assert digest(load_state(tmp_path / "w.pt")) == digest(model.state_dict())


def test_the_digest_is_what_its_description_says() -> None:
    # Caches hold it, so it may never change: JSON of name, dtype and shape, then the bytes, in the order of
    # names.
    stream = b'["a", "torch.float32", [2]]' + b"\x00\x00\x80\x3f" * 2 + b'["b", "torch.bfloat16", []]' + b"\x80\x3f"
    state = {"b": torch.tensor(1, dtype=torch.bfloat16), "a": torch.ones(2)}
    assert digest(state) == hashlib.sha256(stream).hexdigest()
