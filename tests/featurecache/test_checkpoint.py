"""Checkpoints are identified, and written again with another classifier."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from featurecache import checkpoint
from featurecache.checkpoint import classifier_key, load_state, replace_in_checkpoint
from featurecache.storage import head_digest


def network(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(body=nn.Linear(4, 8), norm=nn.BatchNorm1d(8), fc=nn.Linear(8, 3, bias=bias)))


def head(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 8, generator=generator), torch.randn(3, generator=generator)


def saved(path: Path, state: Any) -> Path:
    torch.save(state, path)
    return path


def same(a: Any, b: Any) -> bool:
    """Whether two nested objects are of equal types, keys in equal order, values and tensors' bits."""
    if isinstance(a, Tensor):
        bits = [value.contiguous().reshape(-1).view(torch.uint8) for value in (a.detach(), b.detach())]
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)
    if isinstance(a, dict):
        return (
            type(a) is type(b)
            and list(a) == list(b)
            and all(same(a[key], b[key]) for key in a)
            and getattr(a, "_metadata", None) == getattr(b, "_metadata", None)
        )
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_load_state_gives_what_the_model_takes(tmp_path: Path) -> None:
    model = network()
    state = load_state(saved(tmp_path / "w.pt", {"state_dict": nn.DataParallel(model).state_dict()}))
    assert same(state, model.state_dict())
    network().load_state_dict(state)
    parameters = load_state(saved(tmp_path / "p.pt", dict(model.named_parameters())))
    assert not any(value.requires_grad for value in parameters.values())


@pytest.mark.parametrize("layout", ["plain", "state_dict", "model", "legacy"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_everything_but_the_classifier_is_kept(tmp_path: Path, layout: str, wrapped: bool) -> None:
    model = network()
    state = (nn.DataParallel(model) if wrapped else model).state_dict()
    state._metadata[""]["run"] = {"seed": 1, "classes": ["a", "b"]}
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "lr": 0.1}}, "groups": [{"params": [0, 1]}]}
    root: Any = state if layout in ("plain", "legacy") else {"epoch": 7, layout: state, "optimizer": optimizer}
    into, out = tmp_path / "in.pt", tmp_path / "out.pt"
    torch.save(root, into, _use_new_zipfile_serialization=layout != "legacy")
    original = into.read_bytes()
    weight, bias = head()
    replace_in_checkpoint(
        into, out, layer="fc", weight=weight, bias=bias, expected=head_digest(model.fc.weight, model.fc.bias)
    )
    prefix = "module." if wrapped else ""
    state[f"{prefix}fc.weight"], state[f"{prefix}fc.bias"] = weight, bias
    assert same(torch.load(out, weights_only=True), root)
    assert into.read_bytes() == original
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pt", "out.pt"]


def test_a_safetensors_file_differs_in_the_classifier_only(tmp_path: Path) -> None:
    into, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(dict(network().state_dict()), into, metadata={"format": "pt", "run": '{"seed": 1}'})
    weight, bias = head()
    replace_in_checkpoint(into, out, layer="fc", weight=weight, bias=bias)
    before, after = into.read_bytes(), out.read_bytes()
    changed = sum(a != b for a, b in zip(before, after, strict=True))
    assert 0 < changed <= 4 * (weight.numel() + bias.numel())
    state = load_state(out)
    assert torch.equal(state["fc.weight"], weight)
    assert torch.equal(state["fc.bias"], bias)
    with safe_open(out, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "run": '{"seed": 1}'}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_and_shape_of_a_stored_convolution_are_kept(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    state = {"fc.weight": torch.ones(3, 8, 1, 1, dtype=dtype), "fc.bias": torch.ones(3, dtype=dtype)}
    into, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    if suffix == ".pt":
        torch.save(state, into)
    else:
        save_file(state, into)
    weight, bias = head()
    replace_in_checkpoint(
        into, out, layer="fc", weight=weight, bias=bias, expected=head_digest(torch.ones(3, 8), torch.ones(3))
    )
    read = load_state(out)
    assert torch.equal(read["fc.weight"], weight.to(dtype)[:, :, None, None])
    assert torch.equal(read["fc.bias"], bias.to(dtype))


def test_names_with_and_without_the_wrapper_and_of_a_bare_layer(tmp_path: Path) -> None:
    weight, bias = head()
    for number, (state, layer) in enumerate(
        [
            (network().state_dict(), "module.fc"),
            (nn.DataParallel(network()).state_dict(), "module.fc"),
            (nn.DataParallel(network()).state_dict(), "fc"),
            (nn.Linear(8, 3).state_dict(), ""),
            (nn.DataParallel(nn.Linear(8, 3)).state_dict(), "module"),
        ]
    ):
        out = tmp_path / f"{number}.pt"
        replace_in_checkpoint(saved(tmp_path / "in.pt", state), out, layer=layer, weight=weight, bias=bias)
        read = load_state(out)
        assert torch.equal(read["fc.weight" if layer.endswith("fc") else "weight"], weight)


def test_a_parameter_stays_a_parameter(tmp_path: Path) -> None:
    into = saved(tmp_path / "in.pt", dict(network().named_parameters()))
    weight, bias = head()
    replace_in_checkpoint(into, tmp_path / "out.pt", layer="fc", weight=weight, bias=bias)
    read = torch.load(tmp_path / "out.pt", weights_only=True)
    assert isinstance(read["fc.weight"], nn.Parameter)
    assert torch.equal(read["fc.weight"], weight)


def test_biases_that_one_side_lacks(tmp_path: Path) -> None:
    weight, bias = head()
    with_bias = saved(tmp_path / "with.pt", network().state_dict())
    without = saved(tmp_path / "without.pt", network(bias=False).state_dict())
    out = tmp_path / "out.pt"
    replace_in_checkpoint(with_bias, out, layer="fc", weight=weight, bias=None)
    assert load_state(out)["fc.bias"].tolist() == [0, 0, 0]
    for zeros in (None, torch.zeros(3)):
        replace_in_checkpoint(without, out, layer="fc", weight=weight, bias=zeros)
        assert "fc.bias" not in load_state(out)
    with pytest.raises(ValueError, match="'fc' has no bias and the head has one"):
        replace_in_checkpoint(without, out, layer="fc", weight=weight, bias=bias)


def test_the_checkpoint_of_other_features_is_refused(tmp_path: Path) -> None:
    model, (weight, bias) = network(), head()
    into, out = saved(tmp_path / "in.pt", model.state_dict()), tmp_path / "out.pt"
    true_weight, true_bias = model.fc.weight.data, model.fc.bias.data
    for expected in ((true_weight + 1e-6, true_bias), (true_weight, true_bias + 1), (true_weight[:2], true_bias[:2])):
        with pytest.raises(ValueError, match="another classifier than the one the features were extracted with"):
            replace_in_checkpoint(into, out, layer="fc", weight=weight, bias=bias, expected=head_digest(*expected))
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "head"}, r"another architecture: it has no layer 'head'; \(K, D\) = \(3, 8\) is .* 'fc.weight'"),
        ({"layer": "head", "weight": torch.ones(3, 9)}, r"no weight is \(K, D\) = \(3, 9\)"),
        ({"weight": torch.ones(3, 9)}, r"another architecture: 'fc.weight' is \(3, 8\), the head \(K, D\) = \(3, 9\)"),
        ({"weight": torch.ones(3)}, r"expected \(K, D\) and \(K,\)"),
        ({"bias": torch.ones(2)}, r"expected \(K, D\) and \(K,\)"),
        ({"weight": torch.full((3, 8), torch.nan)}, "not finite"),
        ({"bias": torch.full((3,), torch.inf)}, "not finite"),
        ({"layer": "norm", "weight": torch.ones(8, 1), "bias": torch.ones(8)}, r"'norm.weight' is \(8,\)"),
    ],
)
def test_heads_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    weight, bias = head()
    into = saved(tmp_path / "in.pt", network().state_dict())
    with pytest.raises(ValueError, match=message) as caught:
        replace_in_checkpoint(into, tmp_path / "out.pt", **{"layer": "fc", "weight": weight, "bias": bias, **change})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"fc.weight": torch.ones(3, 8).half(), "fc.bias": torch.ones(3).half()}, r"float16 up to 65504, .* 100000"),
        ({"fc.weight": torch.ones(3, 8, dtype=torch.int8), "fc.bias": torch.ones(3)}, r"stored as torch\.int8"),
        ({"fc.weight": torch.ones(3, 8), "fc.bias": torch.ones(5)}, r"'fc.bias' is \(5,\), the head's \(3,\)"),
        ({"fc.parametrizations.weight.original0": torch.ones(3, 1)}, "computes its weight from 'fc.parametr"),
        ({"fc.weight_g": torch.ones(3, 1), "fc.weight_v": torch.ones(3, 8)}, "computes its weight from 'fc.weight_g'"),
    ],
)
def test_layers_that_cannot_hold_the_head_are_refused(tmp_path: Path, state: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace_in_checkpoint(
            saved(tmp_path / "in.pt", state),
            tmp_path / "out.pt",
            layer="fc",
            weight=torch.full((3, 8), 1e5),
            bias=torch.zeros(3),
        )


def test_a_tied_weight_is_refused(tmp_path: Path) -> None:
    weight, bias = head()
    shared = torch.ones(3, 8)
    into = saved(tmp_path / "in.pt", {"embed.weight": shared, "fc.weight": shared, "fc.bias": bias})
    with pytest.raises(ValueError, match=r"'fc\.weight' is tied to 'embed\.weight'"):
        replace_in_checkpoint(into, tmp_path / "out.pt", layer="fc", weight=weight, bias=bias)


def test_the_original_is_never_replaced(tmp_path: Path) -> None:
    weight, bias = head()
    into = saved(tmp_path / "in.pt", network().state_dict())
    (tmp_path / "link.pt").hardlink_to(into)
    (tmp_path / "soft.pt").symlink_to(into)
    hidden = saved(tmp_path / "new.pt.part", network().state_dict())
    for source, name in (
        (into, "in.pt"),
        (into, "link.pt"),
        (into, "soft.pt"),
        (into, "../" + tmp_path.name + "/in.pt"),
    ):
        with pytest.raises(ValueError, match="would replace the checkpoint itself"):
            replace_in_checkpoint(source, tmp_path / name, layer="fc", weight=weight, bias=bias)
    with pytest.raises(ValueError, match="would replace the checkpoint itself"):
        replace_in_checkpoint(hidden, tmp_path / "new.pt", layer="fc", weight=weight, bias=bias)


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    weight, bias = head()
    into = saved(tmp_path / "in.pt", network().state_dict())
    (tmp_path / "folder.pt").mkdir()
    for name, message in (
        ("out.safetensors", "another kind of file"),
        ("folder.pt", "cannot be written"),
        ("missing/out.pt", "cannot be written"),
    ):
        with pytest.raises(ValueError, match=message):
            replace_in_checkpoint(into, tmp_path / name, layer="fc", weight=weight, bias=bias)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias = head()
    into, out = saved(tmp_path / "in.pt", network().state_dict()), tmp_path / "out.pt"
    out.write_bytes(b"old")

    def half(_value: Any, stream: Any) -> None:
        stream.write(b"half")
        raise RuntimeError("stopped")

    monkeypatch.setattr(checkpoint.torch, "save", half)
    with pytest.raises(RuntimeError, match="stopped"):
        replace_in_checkpoint(into, out, layer="fc", weight=weight, bias=bias)
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pt", "out.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias = head()
    # Larger than the buffer of a Python file, so that the write itself fails.
    into = saved(tmp_path / "in.pt", {**network().state_dict(), "body": torch.ones(100_000)})
    monkeypatch.setattr(checkpoint, "replacing", lambda _out: nullcontext(Path("/dev/full")))
    with pytest.raises(OSError, match="No space left on device"):
        replace_in_checkpoint(into, tmp_path / "out.pt", layer="fc", weight=weight, bias=bias)


def test_the_layer_is_found_by_its_shape_or_refused() -> None:
    state = {"a.weight": torch.ones(3, 8), "conv.weight": torch.ones(5, 8, 1, 1), "a.bias": torch.ones(3)}
    assert classifier_key(state, (3, 8)) == "a"
    assert classifier_key(state, (5, 8)) == "conv"
    assert classifier_key({"weight": torch.ones(3, 8)}, (3, 8)) == ""
    with pytest.raises(ValueError, match=r"no weight \(K, D\) = \(8, 3\)"):
        classifier_key(state, (8, 3))
    with pytest.raises(ValueError, match=r"2 weights are \(K, D\) = \(3, 8\): 'a.weight', 'b.weight'"):
        classifier_key({**state, "b.weight": torch.zeros(3, 8)}, (3, 8))
