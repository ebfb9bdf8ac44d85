"""Heads in files of other people's making."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.svm import LinearSVC
from torch import nn

from featurecache.convert.heads.files import read_head, write_head

RANDOM = np.random.default_rng(0)
WEIGHT, BIAS = RANDOM.normal(size=(3, 4)).astype(np.float32), RANDOM.normal(size=3).astype(np.float32)
ROWS = RANDOM.normal(size=(90, 4))


def save(path: Path, arrays: dict[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file({name: torch.tensor(values) for name, values in arrays.items()}, path)
    else:
        torch.save({name: torch.tensor(values) for name, values in arrays.items()}, path)
    return path


@pytest.mark.parametrize("ending", [".npz", ".pt", ".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("names", [("weight", "bias"), ("fc.weight", "fc.bias"), ("W", "b"), ("coef_", "intercept_")])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_weight_and_a_bias(ending: str, names: tuple[str, str], dtype: str, tmp_path: Path) -> None:
    arrays = dict(zip(names, (WEIGHT.astype(dtype), BIAS.astype(dtype)), strict=True))
    head = read_head(save(tmp_path / f"head{ending}", arrays))
    assert torch.equal(head.weight, torch.from_numpy(WEIGHT))
    assert torch.equal(head.bias, torch.from_numpy(BIAS))
    assert head.arrays == {"weight": names[0], "bias": names[1]}
    assert head.class_names is None


def test_layers_that_pytorch_saves(tmp_path: Path) -> None:
    layer, conv = nn.Linear(4, 3), nn.Conv2d(4, 3, 1, bias=False)
    torch.save(
        {"state_dict": {"module.fc." + name: value for name, value in layer.state_dict().items()}}, tmp_path / "a.pt"
    )
    head = read_head(tmp_path / "a.pt")
    assert torch.equal(head.weight, layer.weight)
    assert torch.equal(head.bias, layer.bias)
    torch.save(conv.half().state_dict(), tmp_path / "b.pt")
    head = read_head(tmp_path / "b.pt")
    assert torch.equal(head.weight, conv.weight.float()[:, :, 0, 0])
    assert head.bias.tolist() == [0, 0, 0]
    assert head.notes == ("It has no bias: zeros.",)


def sklearn_arrays(path: Path, model: Any) -> Path:
    np.savez(path, coef_=model.coef_, intercept_=model.intercept_, classes_=model.classes_)
    return path


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("names", [None, ["ant", "bee", "cow", "dog", "eel"]])
def test_the_softmax_of_the_logits_is_scikit_learns_probability(
    classes: int, names: list[str] | None, tmp_path: Path
) -> None:
    labels = np.arange(len(ROWS)) % classes
    model = LogisticRegression().fit(ROWS, labels if names is None else np.array(names)[labels])
    head = read_head(sklearn_arrays(tmp_path / "head.npz", model))
    logits = torch.from_numpy(ROWS) @ head.weight.double().T + head.bias
    np.testing.assert_allclose(torch.softmax(logits, 1), model.predict_proba(ROWS), rtol=1e-5)  # of float32 weights
    assert head.class_names == (None if names is None else tuple(names[:classes]))
    if classes == 2:
        assert not logits[:, 0].any()
        assert "logits 0 and z" in head.notes[0]
    else:
        assert "multinomial" in head.notes[0]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "model", [RidgeClassifier(), LinearSVC(fit_intercept=False), RidgeClassifier(fit_intercept=False)]
)
def test_one_versus_rest_decides_alike(model: Any, classes: int, tmp_path: Path) -> None:
    model.fit(ROWS, np.arange(len(ROWS)) % classes)
    head = read_head(sklearn_arrays(tmp_path / "head.npz", model))
    logits = torch.from_numpy(ROWS) @ head.weight.double().T + head.bias
    assert logits.argmax(1).tolist() == model.predict(ROWS).tolist()


def test_names_put_the_rows_in_the_order_of_the_class_ids(tmp_path: Path) -> None:
    arrays = {"coef_": WEIGHT, "intercept_": BIAS, "classes_": np.array(["ant", "bee", "cow"])}
    head = read_head(save(tmp_path / "head.npz", arrays), class_names=["cow", "ant", "bee"])
    assert torch.equal(head.weight, torch.from_numpy(WEIGHT[[2, 0, 1]]))
    assert torch.equal(head.bias, torch.from_numpy(BIAS[[2, 0, 1]]))
    assert head.class_names == ("cow", "ant", "bee")
    assert "order of the class ids" in head.notes[-1]
    head = read_head(save(tmp_path / "head.npz", arrays | {"classes_": np.array([1, 2, 0])}))
    assert torch.equal(head.bias, torch.from_numpy(BIAS[[2, 0, 1]]))


def test_the_user_says_what_is_meant(tmp_path: Path) -> None:
    arrays = {"fc.weight": WEIGHT, "fc.bias": BIAS, "head.weight": 2 * WEIGHT, "offset": 2 * BIAS}
    path = save(tmp_path / "head.npz", arrays)
    head = read_head(path, names={"weight": "head.weight", "bias": "offset"}, class_names=["a", "b", "c"])
    assert torch.equal(head.weight, torch.from_numpy(2 * WEIGHT))
    assert torch.equal(head.bias, torch.from_numpy(2 * BIAS))
    assert head.class_names == ("a", "b", "c")
    assert not read_head(path, names={"weight": "fc.weight", "bias": ""}).bias.any()


PAIR = {"weight": WEIGHT, "bias": BIAS}


@pytest.mark.parametrize("ending", [".npz", ".pt"])
@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"weight": WEIGHT.T, "bias": BIAS}, ("it seems to be (D, K)", "save weight.T")),
        ({"weight": WEIGHT, "bias": BIAS[:2]}, ("(3, 4) and the bias (2,)",)),
        ({"weight": np.float64([[1, 1e300]])}, ("array 'weight' holds 1e+300, beyond float32",)),
        ({"weight": WEIGHT > 0}, ("bool; expected real numbers",)),
        (PAIR | {"features": ROWS}, ("more than a weight and a bias (1: 'features')",)),
        (PAIR | {"classes_": np.array([0, 1, 3])}, ("classes_ is 0, 1, 3",)),
        (PAIR | {"classes_": np.array([0, 1])}, ("classes_ has shape (2,); expected (3,)",)),
        ({}, ("",)),
    ],
)
def test_arrays_that_are_no_head(
    ending: str, arrays: dict[str, Any], parts: tuple[str, ...], tmp_path: Path, refused: Any
) -> None:
    with refused(f"head{ending}", *parts):
        read_head(save(tmp_path / f"head{ending}", arrays))


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"weight": WEIGHT, "bias": BIAS * np.nan}, ("array 'bias' holds NaN or infinity",)),
        ({"weight": WEIGHT.astype(object)}, ("'weight' holds Python objects, which are never unpickled",)),
        (PAIR | {"classes_": np.array(["a", "b", "c"], object)}, ("'classes_' holds Python objects", ".astype(str)")),
        ({"weight": WEIGHT.astype(complex)}, ("'weight' has values of type '<c16'",)),
        ({"weight": WEIGHT.astype(str)}, ("'weight' is <U", "expected real numbers")),
        ({"weight": np.zeros((0, 4))}, ("(0, 4); expected (K, D)",)),
    ],
)
def test_numpy_arrays_that_are_no_head(arrays: Any, parts: tuple[str, ...], tmp_path: Path, refused: Any) -> None:
    with refused("head.npz", *parts):
        read_head(save(tmp_path / "head.npz", arrays))


def test_a_whole_model_is_no_head(tmp_path: Path, refused: Any) -> None:
    one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3))
    torch.save(one.state_dict(), tmp_path / "one.pt")
    with refused("one.pt", "more than a weight and a bias", "a whole model is no head", "rebalance extract"):
        read_head(tmp_path / "one.pt")
    save_file(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)).state_dict(), tmp_path / "two.safetensors")
    with refused("two.safetensors", "2 arrays may be the weight ('0.weight', '1.weight')", "a whole model is no head"):
        read_head(tmp_path / "two.safetensors")
    assert torch.equal(read_head(tmp_path / "one.pt", names={"weight": "2.weight"}).bias, one[2].bias)


def test_pickles_are_refused_and_nothing_runs(tmp_path: Path, refused: Any) -> None:
    model = LinearRegression().fit(ROWS, ROWS[:, 0])
    torch.save(nn.Linear(4, 3), tmp_path / "layer.pt")
    torch.save(model, tmp_path / "model.pt")
    torch.save({"weight": torch.ones(3, 4), "bias": np.ones(3)}, tmp_path / "array.pt")
    with refused("layer.pt", "torch.nn.modules.linear.Linear"):
        read_head(tmp_path / "layer.pt")
    with refused("model.pt", "sklearn.linear_model._base.LinearRegression"):
        read_head(tmp_path / "model.pt")
    with refused("array.pt", "'bias' is a ndarray"):
        read_head(tmp_path / "array.pt")
    for name in ("model.pkl", "model.joblib", "model.onnx"):
        (tmp_path / name).write_bytes(b"")
        with refused(name, "no file that heads are read from", "np.savez('head.npz', coef_="):
            read_head(tmp_path / name)


def test_class_names_that_do_not_fit(tmp_path: Path, refused: Any) -> None:
    path = save(tmp_path / "head.npz", PAIR)
    with refused("3 classes and there are 2 class names"):
        read_head(path, class_names=["a", "b"])


def test_a_file_that_is_not_there(tmp_path: Path, refused: Any) -> None:
    with refused("head.npz does not exist", error=FileNotFoundError):
        read_head(tmp_path / "head.npz")
    (tmp_path / "folder.npz").mkdir()
    with refused("folder.npz", "not a regular file"):
        read_head(tmp_path / "folder.npz")


@pytest.mark.parametrize("name", ["head.npz", "head.pt", "HEAD.PTH"])
def test_what_is_written_is_read_by_anybody_and_back(name: str, tmp_path: Path, refused: Any) -> None:
    weight, bias = torch.from_numpy(WEIGHT), torch.from_numpy(BIAS)
    write_head(tmp_path / name, weight, bias)
    if name == "head.npz":
        with np.load(tmp_path / name) as found:
            assert {key: found[key].tolist() for key in found} == {"weight": WEIGHT.tolist(), "bias": BIAS.tolist()}
    else:
        nn.Linear(4, 3).load_state_dict(torch.load(tmp_path / name, weights_only=True))
    back = read_head(tmp_path / name)
    assert torch.equal(back.weight, weight)
    assert torch.equal(back.bias, bias)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with refused(name, "exists already"):
        write_head(tmp_path / name, weight, bias)


def test_what_cannot_be_written(tmp_path: Path, refused: Any, failing: Any, tree: Any) -> None:
    weight, bias = torch.from_numpy(WEIGHT), torch.from_numpy(BIAS)
    with refused("head.pkl", ".npz, .pt, .pth"):
        write_head(tmp_path / "head.pkl", weight, bias)
    with failing("write_at", 1), pytest.raises(OSError, match="No space left"):
        write_head(tmp_path / "head.npz", weight, bias)
    assert tree(tmp_path) == {}
