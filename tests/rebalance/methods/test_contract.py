"""What every method promises, tested on each: a new one is found in METHODS and tested here by itself."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import numpy as np
import pytest
import torch

from rebalance import LinearHead, load_head
from rebalance.methods import METHODS, hyperparameters, takes_counts

every_method = pytest.mark.parametrize("name", METHODS)
fitted_methods = pytest.mark.parametrize("name", [name for name, line in METHODS.items() if line.on is not None])
counting_methods = pytest.mark.parametrize("name", [n for n, line in METHODS.items() if takes_counts(line.function)])

# A strongly convex problem solved closely: two ways to the same minimum then end at the same place.
CLOSE = {"weight_decay": 1e-1, "tol": 1e-4}


def keywords(name: str) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(METHODS[name].function).parameters
    return {key: parameters[key] for key in hyperparameters(METHODS[name].function)}


def run(name: str, head: Any, features: Any, labels: Any, **data: Any) -> LinearHead:
    close = {key: value for key, value in CLOSE.items() if key in keywords(name)}
    return METHODS[name].function(head, features, labels, **close, **data)


def assert_same_decisions(one: LinearHead, other: LinearHead, features: torch.Tensor) -> None:
    a, b = one(features), other(features)
    # A gradient below 1e-4 of the start's and a curvature of at least 0.1 put the weights within 1e-3 of the minimum.
    torch.testing.assert_close(a, b, rtol=5e-3, atol=5e-3)


@every_method
def test_the_signature_is_head_features_labels_and_keywords(name: str) -> None:
    signature = inspect.signature(METHODS[name].function)
    parameters = list(signature.parameters.values())
    assert [parameter.name for parameter in parameters[:3]] == ["head", "features", "labels"]
    assert all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters[:3])
    assert all(parameter.default is parameter.empty for parameter in parameters[:3])
    for parameter in parameters[3:]:
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default is not parameter.empty
    assert all(parameter.annotation is not parameter.empty for parameter in parameters)
    assert signature.return_annotation == "LinearHead"
    assert METHODS[name].function.__name__ == name


@every_method
def test_the_docstring_says_every_parameter_and_the_source(name: str) -> None:
    text = inspect.getdoc(METHODS[name].function) or ""
    for parameter in inspect.signature(METHODS[name].function).parameters:
        # A line of its own, or with its neighbours: "features, labels: not used."
        assert re.search(rf"(^|\. |, ){parameter}(, \w+)*: ", text, re.MULTILINE), parameter
    assert re.search(r"^Source: ", text, re.MULTILINE)


@every_method
def test_the_head_is_finite_of_the_same_shape_and_says_what_it_is(name: str, problem: Any) -> None:
    out = METHODS[name].function(problem.head, problem.features, problem.labels)
    assert isinstance(out, LinearHead)
    assert (out.num_classes, out.width) == (5, 8)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in out.tensors().values())
    assert all(tensor.dtype == torch.float32 and not tensor.requires_grad for tensor in out.tensors().values())
    assert out.record["method"] == name
    assert out.record["hyperparameters"] == {key: parameter.default for key, parameter in keywords(name).items()}
    assert json.loads(json.dumps(out.record, allow_nan=False)) == out.record


@every_method
def test_the_head_survives_a_file_and_deploys(name: str, problem: Any, tmp_path: Any) -> None:
    out = run(name, problem.head, problem.features, problem.labels)
    out.save(tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    assert type(again) is type(out)
    assert again.record == out.record
    assert torch.equal(again(problem.val_features), out(problem.val_features))
    with torch.no_grad():
        torch.testing.assert_close(out.to_module()(problem.val_features), out(problem.val_features))


@every_method
def test_the_arguments_are_left_alone(name: str, problem: Any) -> None:
    features, labels, head = problem.features.clone(), problem.labels.clone(), problem.head
    tensors, record = {key: tensor.clone() for key, tensor in head.tensors().items()}, json.dumps(head.record)
    out = run(name, head, features, labels)
    assert torch.equal(features, problem.features)
    assert torch.equal(labels, problem.labels)
    assert all(torch.equal(head.tensors()[key], tensor) for key, tensor in tensors.items())
    assert json.dumps(head.record) == record
    assert out is not head


@every_method
@pytest.mark.parametrize("kind", ["ndarray", "float16 tensor", "float16 map", "float64", "slices"])
def test_the_kind_of_array_does_not_matter(
    name: str, kind: str, problem: Any, float16_map: Any, slice_only: Any
) -> None:
    features = {
        "ndarray": problem.features.numpy(),
        "float16 tensor": problem.features.half(),
        "float16 map": float16_map,
        "float64": problem.features.numpy().astype(np.float64),
        "slices": slice_only(float16_map),
    }[kind]
    labels = problem.labels.numpy().astype(np.int32)
    out = run(name, problem.head, features, labels)
    expected = run(name, problem.head, problem.features, problem.labels)
    assert all(torch.equal(out.tensors()[key], tensor) for key, tensor in expected.tensors().items())


@every_method
def test_the_same_rows_give_the_same_bits(name: str, problem: Any) -> None:
    torch.manual_seed(1)
    first = run(name, problem.head, problem.features, problem.labels)
    torch.manual_seed(2)
    again = run(name, problem.head, problem.features, problem.labels)
    assert all(torch.equal(again.tensors()[key], tensor) for key, tensor in first.tensors().items())


@every_method
def test_features_that_carry_a_gradient_are_numbers_like_others(name: str, problem: Any) -> None:
    out = run(name, problem.head, problem.features.clone().requires_grad_(), problem.labels)
    expected = run(name, problem.head, problem.features, problem.labels)
    assert all(torch.equal(out.tensors()[key], tensor) for key, tensor in expected.tensors().items())
    assert not any(tensor.requires_grad for tensor in out.tensors().values())


@every_method
def test_unlabelled_rows_are_ignored(name: str, problem: Any) -> None:
    features = torch.full((40, 8), 3.0) + 5 * torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    mixed = torch.cat([features[:10], problem.features, features[10:]])
    labels = torch.cat([torch.full((10,), -1), problem.labels, torch.full((30,), -1)])
    expected = run(name, problem.head, problem.features, problem.labels)
    assert_same_decisions(run(name, problem.head, mixed, labels), expected, problem.val_features)


@every_method
def test_the_order_of_rows_does_not_matter(name: str, problem: Any) -> None:
    order = torch.randperm(len(problem.labels), generator=torch.Generator().manual_seed(0))
    expected = run(name, problem.head, problem.features, problem.labels)
    shuffled = run(name, problem.head, problem.features[order], problem.labels[order])
    assert_same_decisions(shuffled, expected, problem.val_features)


@every_method
def test_the_order_of_classes_does_not_matter(name: str, problem: Any) -> None:
    new_id = torch.tensor([3, 0, 4, 1, 2])
    old_id = new_id.argsort()
    head = LinearHead(problem.head.weight[old_id], problem.head.bias[old_id])
    renamed = run(name, head, problem.features, new_id[problem.labels])(problem.val_features)
    expected = run(name, problem.head, problem.features, problem.labels)(problem.val_features)
    torch.testing.assert_close(renamed[:, new_id], expected, rtol=5e-3, atol=5e-3)  # as above


@every_method
def test_blocks_do_not_matter(name: str, problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(name, problem.head, problem.features, problem.labels)
    monkeypatch.setattr("rebalance.blocks.BLOCK_BYTES", 4 * 8 * 13)
    assert_same_decisions(run(name, problem.head, problem.features, problem.labels), expected, problem.val_features)


@fitted_methods
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_features_that_are_not_finite_are_refused_with_their_row(
    name: str, value: float, problem: Any, refuses: Any
) -> None:
    features = problem.features.clone()
    features[17, 3] = value
    features[40, 0] = torch.nan
    with refuses("row 17 of 110", "NaN or infinity"):
        run(name, problem.head, features, problem.labels)


@fitted_methods
def test_rows_that_do_not_fit_are_refused(name: str, problem: Any, refuses: Any) -> None:
    with refuses("109 labels", "110 rows"):
        run(name, problem.head, problem.features, problem.labels[:-1])
    with refuses("16 wide", "takes 8"):
        run(name, problem.head, problem.features.repeat(1, 2), problem.labels)
    with refuses("no row has a label"):
        run(name, problem.head, problem.features, torch.full_like(problem.labels, -1))
    with refuses("label 5", "5 classes"):
        run(name, problem.head, problem.features, problem.labels + 1)
    with refuses("float32", "integers"):
        run(name, problem.head, problem.features, problem.labels.float())


@every_method
def test_numbers_that_are_none_are_refused(name: str, problem: Any, refuses: Any) -> None:
    for key, parameter in keywords(name).items():
        wrong: Any = "nonsense" if isinstance(parameter.default, str) else float("nan")
        with refuses(key):
            METHODS[name].function(problem.head, problem.features, problem.labels, **{key: wrong})


@every_method
def test_without_a_head_it_works_or_says_that_it_needs_one(name: str, problem: Any, refuses: Any) -> None:
    if not METHODS[name].needs_head:
        out = run(name, None, problem.features, problem.labels)
        expected = run(name, problem.head, problem.features, problem.labels)
        assert all(torch.equal(out.tensors()[key], tensor) for key, tensor in expected.tensors().items())
    else:
        with refuses(name, "none was given"):
            run(name, None, problem.features, problem.labels)


@counting_methods
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_counts_are_those_of_the_labels_unless_given(name: str, kind: Any, problem: Any) -> None:
    expected = run(name, problem.head, problem.features, problem.labels)
    out = run(name, problem.head, problem.features, problem.labels, counts=kind(problem.counts.tolist()))
    assert all(torch.equal(out.tensors()[key], tensor) for key, tensor in expected.tensors().items())
    assert out.record == expected.record


@counting_methods
def test_given_counts_are_used(name: str, problem: Any) -> None:
    expected = run(name, problem.head, problem.features, problem.labels)(problem.val_features)
    out = run(name, problem.head, problem.features, problem.labels, counts=[1, 2, 4, 100, 1000])(problem.val_features)
    assert bool(torch.isfinite(out).all())
    # Relative to the others, the classes that are now said to be rare have gained.
    assert float((out - expected)[:, :2].mean()) > float((out - expected)[:, 3:].mean())


@counting_methods
def test_a_class_that_is_counted_empty_survives(name: str, problem: Any) -> None:
    out = run(name, problem.head, problem.features, problem.labels, counts=[60, 30, 0, 5, 0])
    assert bool(torch.isfinite(out(problem.val_features)).all())


@counting_methods
def test_counts_that_are_none_are_refused(name: str, problem: Any, refuses: Any) -> None:
    for wrong in (float("nan"), [1, 2, 3, 4], [1, 2, 3, 4, -5], [1, 2, 3, 4, float("inf")], [0] * 5):
        with refuses("counts"):
            run(name, problem.head, problem.features, problem.labels, counts=wrong)


@every_method
@pytest.mark.parametrize("case", ["no rows", "one row", "one row four times"])
def test_a_class_with_hardly_any_rows_survives(name: str, case: str, problem: Any) -> None:
    kept = torch.nonzero((problem.labels != 4) | (torch.cumsum(problem.labels == 4, 0) == 1))[:, 0]
    if case == "no rows":
        kept = kept[problem.labels[kept] != 4]
    if case == "one row four times":
        kept = torch.cat([kept, *[kept[problem.labels[kept] == 4]] * 3])
    out = run(name, problem.head, problem.features[kept], problem.labels[kept])
    logits = out(problem.val_features)
    assert bool(torch.isfinite(logits).all())
    # The other classes are told apart still, by methods for imbalance and by baselines: better than by chance.
    known = problem.val_labels != 4
    right = (logits[known][:, :4].argmax(1) == problem.val_labels[known]).float().mean()
    assert float(right) > 0.3


@every_method
def test_two_classes_work(name: str, problem: Any) -> None:
    rows = problem.labels < 2
    head = LinearHead(problem.head.weight[:2], problem.head.bias[:2])
    out = run(name, head, problem.features[rows], problem.labels[rows])
    judged = problem.val_labels < 2
    right = out(problem.val_features[judged]).argmax(1) == problem.val_labels[judged]
    assert out.num_classes == 2
    assert float(right.float().mean()) >= 0.5


@every_method
def test_a_head_of_zeros_is_refused_or_no_matter(name: str, problem: Any, refuses: Any) -> None:
    zeros = LinearHead(torch.zeros(5, 8))
    if name in ("tau_norm", "lws", "marc", "disalign", "weight_balance"):  # which rescale its weights, or go by them
        with refuses(r"\b0\b|zero"):
            run(name, zeros, problem.features, problem.labels)
    else:
        assert bool(torch.isfinite(run(name, zeros, problem.features, problem.labels)(problem.val_features)).all())


@pytest.mark.cuda
@every_method
def test_the_gpu_agrees(name: str, problem: Any) -> None:
    expected = run(name, problem.head, problem.features, problem.labels)
    out = run(name, problem.head.to("cuda"), problem.features.cuda(), problem.labels.cuda())
    assert out.weight.device.type == "cuda"
    assert_same_decisions(out.to("cpu"), expected, problem.val_features)
