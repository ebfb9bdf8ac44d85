"""The names of a checkpoint become those of a model."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from featurecache.models.naming import fitted


def network() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 1), bn1=nn.BatchNorm2d(4)))
    return nn.Sequential(OrderedDict(layer1=body, fc=nn.Linear(4, 3)))


STATE = network().state_dict()
WORDS = st.sampled_from(["module", "_orig_mod", "model", "net", "backbone", "encoder", "layer1", "x1"])


def fit(state: Any) -> Any:
    return fitted(state, STATE, checkpoint="'w.pt'")


def same(state: Any) -> bool:
    return state.keys() == STATE.keys() and all(state[name] is value for name, value in STATE.items())


@given(st.lists(WORDS, max_size=5))
def test_any_nesting_of_wrappers_is_taken_off_and_said(words: list[str]) -> None:
    lead = "".join(f"{word}." for word in words)
    found = fit({lead + name: value for name, value in STATE.items()})
    assert same(found.state)
    assert found.notes == ((f"checkpoint 'w.pt': '{lead}' taken off the names of its tensors",) if words else ())


def test_the_versions_of_the_modules_move_with_the_names() -> None:
    wrapped = nn.ModuleDict({"model": nn.DataParallel(network())}).state_dict()
    found = fit(wrapped).state
    assert vars(found)["_metadata"] == vars(network().state_dict())["_metadata"]


def test_a_backbone_and_a_head_side_by_side_are_put_together() -> None:
    state = {("backbone." if name.startswith("layer1") else "head.") + name: value for name, value in STATE.items()}
    found = fit(state)
    assert same(found.state)
    assert "'head.' taken off the names of 2 tensors" in found.notes[1]


def test_a_classifier_without_the_wrapper_is_put_together_too() -> None:
    state = {("net." if name.startswith("layer1") else "") + name: value for name, value in STATE.items()}
    found = fit(state)
    assert same(found.state)
    assert len(found.notes) == 1


def test_what_lies_beside_a_whole_model_is_left_out_and_said() -> None:
    state = {**{f"model.{name}": value for name, value in STATE.items()}, "criterion.weight": torch.ones(3)}
    found = fit(state)
    assert same(found.state)
    assert list(found.beside) == ["criterion.weight"]
    assert "1 tensors beside the model left out (first 'criterion.weight')" in found.notes[1]


def test_a_tensor_more_inside_the_wrapper_is_the_models() -> None:
    state = {**{f"model.{name}": value for name, value in STATE.items()}, "model.extra": torch.ones(3)}
    assert "extra" in fit(state).state


def test_what_lies_beside_a_model_that_is_not_whole_is_kept() -> None:
    state = {f"model.{name}": value for name, value in STATE.items() if name != "layer1.conv1.bias"}
    found = fit({**state, "criterion.weight": torch.ones(3)}).state
    assert "criterion.weight" in found
    assert "fc.weight" in found


def test_step_counters_of_normalisations_may_be_missing() -> None:
    state = {f"model.{name}": value for name, value in STATE.items() if "num_batches" not in name}
    found = fit({**state, "criterion.weight": torch.ones(3)}).state
    assert found.keys() == STATE.keys() - {"layer1.bn1.num_batches_tracked"}


@pytest.mark.parametrize("names", [{}, {"other.weight": 1}, {"module.a": 1, "module.fc.weight": 2}])
def test_names_that_do_not_come_near_stay(names: dict[str, Any]) -> None:
    found = fit(names)
    assert dict(found.state) == names
    assert found.notes == ()


def test_names_that_fit_stay_whatever_else_there_is() -> None:
    state = {**STATE, **{f"ema.{name}": value for name, value in STATE.items()}}
    assert list(fit(state).state) == list(state)


def test_two_whole_models_are_refused(refused: Any) -> None:
    state = {lead + name: value for lead in ("student.", "teacher.") for name, value in STATE.items()}
    with refused("checkpoint 'w.pt' holds 2 such models, behind 'student.' and 'teacher.'"):
        fit(state)


def test_a_name_of_a_million_dots_costs_nothing() -> None:
    state = {"." * 10**6: torch.ones(1)}
    assert list(fit(state).state) == list(state)
