"""Local weights: all of them, or one line that says how they differ."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

from featurecache.datasets.transforms import ImageTransform
from featurecache.models.model import load_weights


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(OrderedDict(a=nn.Linear(2, width), norm=nn.BatchNorm1d(width), b=nn.Linear(width, 4)))


def load(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    load_weights(module, state, source="file:n.py:f", checkpoint="'w.pt'")


def test_every_tensor_arrives() -> None:
    torch.manual_seed(0)
    source, target = network(), network()
    load(target, source.state_dict())
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in target.state_dict().items())


def test_old_batch_normalisations_have_no_step_counter() -> None:
    state = {name: value for name, value in network().state_dict().items() if "num_batches" not in name}
    load(network(), state)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda s: s.pop("b.bias"), ["1 missing (first 'b.bias')"]),
        (lambda s: s.update(extra=torch.zeros(1)), ["1 unexpected (first 'extra')"]),
        (lambda s: s.update({"b.bias": torch.zeros(9)}), ["1 of another shape (first 'b.bias' (9,), expected (4,))"]),
        (lambda s: (s.clear(), s.update(network(5).state_dict())), ["7 of another shape", "'a.weight' (5, 2)"]),
        (
            lambda s: (s.pop("a.bias"), s.update({"b.bias": torch.zeros(9), "x": torch.zeros(1)})),
            ["1 missing (first 'a.bias')", "1 unexpected (first 'x')", "1 of another shape"],
        ),
    ],
)
def test_a_difference_is_refused_in_one_line(change: Any, parts: list[str], refused: Any) -> None:
    state = OrderedDict(network().state_dict())
    change(state)
    with refused("checkpoint 'w.pt' of another architecture than file:n.py:f", *parts):
        load(network(), state)


IMAGES = torch.randn(2, 3, 4, 4)


def classifier_of(bodies: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(body=bodies, fc=nn.Linear(6, 4))).eval()


def body() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_a_checkpoint_without_a_classifier_gives_features() -> None:
    torch.manual_seed(0)
    original, module = classifier_of(body()), classifier_of(body())
    state = {f"model.{name}": value for name, value in original.state_dict().items() if "fc" not in name}
    loaded = load_weights(module, state, source="s", checkpoint="'w.pt'", transform=ImageTransform(4))
    assert not loaded.has_head
    assert loaded.notes[0] == "checkpoint 'w.pt': 'model.' taken off the names of its tensors"
    assert loaded.notes[1:] == ("checkpoint 'w.pt' has no classifier ('fc'): features only",)
    assert torch.equal(module(IMAGES), original.body(IMAGES))


def test_a_classifier_that_the_module_has_no_place_for_is_left_out() -> None:
    original = classifier_of(body())
    module = nn.Sequential(OrderedDict(body=body()))
    loaded = load_weights(
        module, original.state_dict(), source="file:n.py:f", checkpoint="'w.pt'", transform=ImageTransform(4)
    )
    assert not loaded.has_head
    assert loaded.notes == ("checkpoint 'w.pt' has a classifier, file:n.py:f none ('fc'): features only",)
    assert torch.equal(module(IMAGES), original.body(IMAGES))


def test_a_classifier_beside_a_wrapped_backbone_is_left_out_too() -> None:
    original = classifier_of(body())
    state = {f"backbone.{name}": value for name, value in original.body.state_dict().items()}  # type: ignore[union-attr]
    for beside, has_head in (("head.weight", False), ("criterion.weight", True)):
        extra = original.fc.weight if beside == "head.weight" else torch.ones(4)
        loaded = load_weights(
            body().eval(), {**state, beside: extra}, source="s", checkpoint="c", transform=ImageTransform(4)
        )
        assert loaded.has_head == has_head
        assert f"1 tensors beside the model left out (first '{beside}')" in loaded.notes[1]


def test_a_classifier_of_another_name_is_not_thrown_away(refused: Any) -> None:
    state = {name.replace("fc", "head"): value for name, value in classifier_of(body()).state_dict().items()}
    with refused("2 missing (first 'fc.weight')", "2 unexpected (first 'head.weight')"):
        load_weights(classifier_of(body()), state, source="s", checkpoint="c", transform=ImageTransform(4))


def test_a_classifier_of_other_classes_is_refused(refused: Any) -> None:
    state = {**classifier_of(body()).state_dict(), "fc.weight": torch.ones(9, 6), "fc.bias": torch.ones(9)}
    with refused("2 of another shape (first 'fc.weight' (9, 6), expected (4, 6))"):
        load_weights(classifier_of(body()), state, source="s", checkpoint="c", transform=ImageTransform(4))


def test_whole_weights_have_a_head_and_say_nothing() -> None:
    module = classifier_of(body())
    loaded = load_weights(module, module.state_dict(), source="s", checkpoint="c")
    assert loaded.has_head
    assert loaded.notes == ()


def test_a_module_without_memory_takes_the_tensors() -> None:
    original = classifier_of(body())
    with torch.device("meta"):
        module = classifier_of(body())
    load_weights(module, original.state_dict(), source="s", checkpoint="c")
    assert torch.equal(module(IMAGES), original(IMAGES))


def test_a_module_that_refuses_its_part_is_quoted_on_one_line(refused: Any) -> None:
    class Strict(nn.Linear):
        def _load_from_state_dict(self, *_: Any) -> None:
            raise RuntimeError("no such\nversion")

    with refused("checkpoint c of another architecture than s: RuntimeError: no such version"):
        load_weights(Strict(2, 2), nn.Linear(2, 2).state_dict(), source="s", checkpoint="c")
