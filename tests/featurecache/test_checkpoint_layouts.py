"""Classifiers are written into every layout: behind wrappers, beside averaged weights, into the paper's files."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featurecache.checkpoint import load_state, read_classifier, replace_in_checkpoint
from featurecache.storage import head_digest


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(body=nn.Linear(4, 8), norm=nn.BatchNorm1d(8), fc=nn.Linear(8, 3)))


def head(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 8, generator=generator), torch.randn(3, generator=generator)


def saved(path: Path, root: Any) -> Path:
    torch.save(root, path)
    return path


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("lead", ["model.", "_orig_mod.", "module.model.net."])
def test_the_layer_is_found_behind_the_names_of_wrappers(tmp_path: Path, lead: str) -> None:
    model, (weight, bias) = network(), head()
    state = {lead + name: value for name, value in model.state_dict().items()}
    into, out = saved(tmp_path / "in.pt", {"state_dict": state}), tmp_path / "out.pt"
    replace_in_checkpoint(
        into, out, layer="fc", weight=weight, bias=bias, expected=head_digest(model.fc.weight, model.fc.bias)
    )
    state[f"{lead}fc.weight"], state[f"{lead}fc.bias"] = weight, bias
    assert same(torch.load(out, weights_only=True)["state_dict"], state)


def test_of_two_layers_behind_wrappers_the_expected_one_is_meant(tmp_path: Path) -> None:
    (old, old_bias), (weight, bias) = head(2), head()
    state = {"a.fc.weight": old, "a.fc.bias": old_bias, "b.fc.weight": old + 1, "b.fc.bias": old_bias.clone()}
    into, out = saved(tmp_path / "in.pt", state), tmp_path / "out.pt"
    with pytest.raises(ValueError, match=r"2 layers could be 'fc': 'a.fc.weight', 'b.fc.weight'; name the one"):
        replace_in_checkpoint(into, out, layer="fc", weight=weight, bias=bias)
    replace_in_checkpoint(into, out, layer="fc", weight=weight, bias=bias, expected=head_digest(old + 1, old_bias))
    read = load_state(out)
    assert torch.equal(read["a.fc.weight"], old)
    assert torch.equal(read["b.fc.weight"], weight)


@pytest.mark.parametrize("averaged", [False, True])
def test_averaged_weights_are_written_to_where_they_hold_the_expected_classifier(
    tmp_path: Path, averaged: bool
) -> None:
    plain, other = network().state_dict(), {name: value + 1 for name, value in network().state_dict().items()}
    into, out = saved(tmp_path / "in.pt", {"state_dict": plain, "state_dict_ema": other}), tmp_path / "out.pt"
    chosen, left = (other, plain) if averaged else (plain, other)
    weight, bias = head()
    expected = head_digest(chosen["fc.weight"], chosen["fc.bias"])
    done = replace_in_checkpoint(into, out, layer="fc", weight=weight, bias=bias, expected=expected)
    assert done.averaged is averaged
    assert torch.equal(load_state(out, ema=averaged)["fc.weight"], weight)
    assert torch.equal(read_classifier(out, layer="fc", ema=averaged)[0], weight)
    assert same(load_state(out, ema=not averaged), left)
    with pytest.raises(ValueError, match="another classifier"):
        replace_in_checkpoint(into, out, layer="fc", weight=weight, bias=bias, expected="0" * 64)


def test_where_both_hold_the_expected_classifier_the_plain_ones_are_written(tmp_path: Path) -> None:
    plain = network().state_dict()
    averaged = {name: value + (not name.startswith("fc.")) for name, value in plain.items()}
    into, out = saved(tmp_path / "in.pt", {"model": plain, "model_ema": averaged}), tmp_path / "out.pt"
    weight, bias = head()
    for expected in (None, head_digest(plain["fc.weight"], plain["fc.bias"])):
        done = replace_in_checkpoint(into, out, recorded="fc", weight=weight, bias=bias, expected=expected)
        assert done.averaged is False
        assert torch.equal(load_state(out)["fc.weight"], weight)
        assert same(load_state(out, ema=True), averaged)


def test_a_file_with_averaged_weights_alone(tmp_path: Path, refused: Any) -> None:
    into = saved(tmp_path / "in.pt", {"ema": network().state_dict(), "epoch": 3})
    weight, bias = head()
    done = replace_in_checkpoint(into, tmp_path / "out.pt", recorded="fc", weight=weight, bias=bias)
    assert (done.layer, done.averaged) == ("fc", True)
    assert torch.equal(load_state(tmp_path / "out.pt", ema=True)["fc.weight"], weight)
    with refused("in.pt'", "has no layer 'head'"):
        replace_in_checkpoint(into, tmp_path / "no.pt", layer="head", weight=weight, bias=bias)


def test_the_papers_file_keeps_its_layout_and_its_scales_become_ones(tmp_path: Path) -> None:
    (old, old_bias), (weight, bias), scales = head(2), head(), torch.tensor([2.0, 0.5, -1.0])
    classifier = {"module.fc.weight": old, "module.fc.bias": old_bias, "module.scales": scales}
    body = {"module.conv1.weight": torch.ones(8, 3, 1, 1)}
    beside = {"epoch": 90, "best_acc": np.float64(0.5), "centroids": np.ones((3, 8), np.float32)}
    root = {**beside, "state_dict_best": {"feat_model": body, "classifier": classifier}}
    into, out = saved(tmp_path / "in.pth", root), tmp_path / "out.pth"
    folded = load_state(into)
    assert torch.equal(folded["fc.weight"], scales[:, None] * old)
    expected = head_digest(folded["fc.weight"], folded["fc.bias"])
    replace_in_checkpoint(into, out, layer="fc", weight=weight, bias=bias, expected=expected)
    state = load_state(out)
    assert torch.equal(state["fc.weight"], weight)
    assert torch.equal(state["fc.bias"], bias)
    read = torch.load(out, weights_only=False)
    assert read["state_dict_best"]["classifier"]["module.scales"].tolist() == [1, 1, 1]
    assert same(read["state_dict_best"]["feat_model"], body)
    assert {key: np.asarray(read[key]).tolist() for key in beside} == {
        key: np.asarray(value).tolist() for key, value in beside.items()
    }
