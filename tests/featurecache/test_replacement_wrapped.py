"""The classifier of wrapped, compiled and normed models is replaced where it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import spectral_norm as hooked_spectral_norm
from torch.nn.utils import weight_norm as hooked_weight_norm

from featurecache.classifier import find_classifier
from featurecache.replacement import replace_classifier


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))


NORMS = [
    *(parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal),
    *(hooked_weight_norm, hooked_spectral_norm),
]
deprecated = pytest.mark.filterwarnings("ignore:.*_norm.*is deprecated:FutureWarning")


@deprecated
@pytest.mark.parametrize("normed", NORMS)
def test_normed_layers_are_replaced_whole(normed: Callable[[nn.Module], nn.Module]) -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), normed(nn.Linear(8, 5))), torch.randn(2, 4)
    model(x)  # leaves a computed weight that cannot be copied
    new = nn.Linear(8, 5)
    patched = replace_classifier(model, new)
    assert type(patched[1]) is nn.Linear
    assert torch.equal(patched(x), new(model[0](x)))


@deprecated
@pytest.mark.parametrize("normed", NORMS)
def test_normed_layers_before_the_classifier_are_copied(normed: Callable[[nn.Module], nn.Module]) -> None:
    model, x = nn.Sequential(normed(nn.Linear(4, 8)), nn.Linear(8, 5)).train(), torch.randn(2, 4)
    model(x)
    model.eval()
    new = nn.Linear(8, 5)
    patched = replace_classifier(model, new)
    assert torch.equal(patched(x), new(model[0](x)))
    before = model(x).detach().clone()
    patched(x).sum().backward()
    assert all(value.grad is None for value in model.parameters())
    with torch.no_grad():
        for value in patched.parameters():
            value.add_(1)
    assert torch.equal(model(x), before)


def test_what_a_model_keeps_of_its_last_forward_is_copied_without_its_history() -> None:
    model, x, new = mlp(), torch.randn(6, 4), nn.Linear(8, 5)
    model.kept = model[0](x)
    model.register_buffer("buffered", model[0](x))
    patched = replace_classifier(model, new)
    assert torch.equal(patched.kept, model.kept)
    assert (patched.kept.requires_grad, model.kept.requires_grad) == (False, True)
    assert torch.equal(patched.buffered, model.buffered)


def test_wrapped_and_shared_layers_are_replaced_wherever_they_are() -> None:
    wrapped = nn.DataParallel(mlp())
    patched = replace_classifier(wrapped, nn.Linear(8, 5), layer="module.3")
    assert patched.state_dict().keys() == wrapped.state_dict().keys()
    twice = mlp()
    twice.alias = twice[3]
    patched = replace_classifier(twice, nn.Linear(8, 5))
    assert patched.alias is patched[3]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("wrap", [nn.DataParallel, nn.parallel.DistributedDataParallel])
@pytest.mark.usefixtures("group")
def test_a_wrapped_model_stays_wrapped_and_learns(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model, new, x = wrap(mlp()), nn.Linear(8, 5), torch.randn(6, 4)
    found = find_classifier(model, x)
    assert found.name == "module.3"
    state = copy.deepcopy(model.state_dict())
    for layer in (found, "module.3", "3", None):
        patched = replace_classifier(model, new, layer=layer)
        assert type(patched) is type(model)
        assert torch.equal(patched.eval()(x), new(model.eval().module[:3](x)))
        model.load_state_dict(patched.state_dict())
        model.load_state_dict(state)
    patched.train()(x).sum().backward()
    assert patched.module[3].weight.grad.abs().sum() > 0
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_a_name_that_was_taken_under_a_wrapper_is_found_without_it() -> None:
    model, new, x = mlp().eval(), nn.Linear(8, 5), torch.randn(6, 4)
    for name in ("module.3", "_orig_mod.3", "module._orig_mod.3"):
        assert torch.equal(replace_classifier(model, new, layer=name)(x), new(model[:3](x)))
    deep = nn.Sequential(nn.Linear(4, 4), nn.DataParallel(mlp()))
    with pytest.raises(ValueError, match="no layer '3'"):
        replace_classifier(deep, new, layer="3")


def test_a_compiled_model_computes_with_the_new_classifier() -> None:
    model, new, x = torch.compile(mlp().eval(), backend="eager"), nn.Linear(8, 5), torch.randn(6, 4)
    model(x)
    patched = replace_classifier(model, new, layer="3")
    assert torch.equal(patched(x), new(model._orig_mod[:3](x)))
