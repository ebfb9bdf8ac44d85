"""The run file: a plain state dict that says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from featurecache.checkpoint import replace_in_checkpoint
from featurecache.classifier import capture, find_classifier
from featurecache.datasets.transforms import ImageTransform
from featurecache.models.convnet import ConvNet
from featurecache.models.normed import fold, with_normed
from featurecache.models.run import open_run, read_run, save_run
from featurecache.storage import head_digest

DESCRIPTION: dict[str, Any] = {
    "arch": "convnet",
    "channels": 1,
    "image_size": 8,
    "class_names": ["a", "b", "c"],
    "transform": ImageTransform(8, channels=1, crop=1.0).to_dict(),
    "trained_on": "0" * 64,
    "epochs": 3,
    "sampler": "instance",
    "seed": 0,
    "best": None,
    "versions": {"torch": "2"},
}


@pytest.fixture
def model() -> ConvNet:
    torch.manual_seed(0)
    model = ConvNet(3, channels=1, image_size=8)
    model(torch.randn(8, 1, 8, 8))  # running statistics that are not the initial ones
    return model.eval()


@pytest.fixture(params=["run.pt", "run.safetensors"])
def run(request: pytest.FixtureRequest, tmp_path: Path, model: ConvNet) -> Path:
    path = tmp_path / request.param
    save_run(path, model, DESCRIPTION)
    return path


def test_nobody_needs_this_project_to_load_it(tmp_path: Path, model: ConvNet) -> None:
    fresh = ConvNet(3, channels=1, image_size=8).eval()
    images = torch.randn(2, 1, 8, 8)
    for name in ("a.pt", "a.safetensors"):
        save_run(tmp_path / name, model, DESCRIPTION)
    fresh.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    assert torch.equal(fresh(images), model(images))
    fresh.load_state_dict(load_file(tmp_path / "a.safetensors"))
    assert torch.equal(fresh(images), model(images))


def test_the_description_comes_back(run: Path) -> None:
    assert read_run(run) == DESCRIPTION
    assert [path.name for path in run.parent.iterdir()] == [run.name]


def test_it_opens_as_a_model(run: Path, model: ConvNet) -> None:
    opened = open_run(str(run))
    images = torch.randn(2, 1, 8, 8)
    assert not opened.module.training
    assert torch.equal(opened.module(images), model(images))
    assert opened.class_names == ("a", "b", "c")
    assert opened.trained_on == "0" * 64
    assert opened.transform_text == ImageTransform(8, channels=1, crop=1.0).describe()
    assert opened.transform(Image.new("L", (8, 8))).shape == (1, 8, 8)


def test_the_model_itself_is_untouched(tmp_path: Path, model: ConvNet) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_run(tmp_path / "a.pt", model, DESCRIPTION)
    assert model.training
    assert "run" not in model.state_dict()._metadata[""]  # type: ignore[attr-defined]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_new_classifier_leaves_the_description(run: Path, model: ConvNet) -> None:
    weight, bias = torch.randn(3, model.classifier.in_features), torch.randn(3)
    out = run.with_name(f"new{run.suffix}")
    replace_in_checkpoint(run, out, layer="classifier", weight=weight, bias=bias)
    opened = open_run(str(out))
    assert torch.equal(opened.module.get_submodule("classifier").weight, weight)  # type: ignore[arg-type]
    assert read_run(out) == DESCRIPTION
    other = open_run(str(run), checkpoint=out)
    assert torch.equal(other.module.get_submodule("classifier").weight, weight)  # type: ignore[arg-type]


def test_shared_weights_are_stored_twice(tmp_path: Path) -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    for name in ("a.pt", "a.safetensors"):
        save_run(tmp_path / name, tied, DESCRIPTION)
        assert read_run(tmp_path / name) == DESCRIPTION


def test_code_from_a_run_is_never_run_unasked(tmp_path: Path, model: ConvNet, refused: Any) -> None:
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\n")
    arch = f"file:{code}:make"
    save_run(tmp_path / "a.pt", model, {**DESCRIPTION, "arch": arch})
    with refused("needs code from", "if you trust it, pass --model", "and --checkpoint"):
        open_run(str(tmp_path / "a.pt"))
    assert not (tmp_path / "marker").exists()


def test_another_image_size_is_refused(run: Path, refused: Any) -> None:
    open_run(str(run), image_size=8)
    with refused("reads images of 8 pixels"):
        open_run(str(run), image_size=16)


def test_a_checkpoint_without_a_description_is_no_run(tmp_path: Path, model: ConvNet, refused: Any) -> None:
    torch.save(model.state_dict(), tmp_path / "a.pt")
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        with refused(name, "is not a run file", "--checkpoint"):
            read_run(tmp_path / name)
    with refused("gone.pt", error=FileNotFoundError):
        open_run(str(tmp_path / "gone.pt"))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"arch": 3}, "arch is 3, expected a value of type str"),
        ({"channels": True}, "channels is True"),
        ({"image_size": 10**9}, "its transform is for images of another size"),
        ({"class_names": []}, "class_names are not different texts"),
        ({"class_names": ["a", "a"]}, "class_names are not different texts"),
        ({"class_names": ["a", 1]}, "class_names are not different texts"),
        ({"transform": {"size": 8}}, "expected a mapping with exactly"),
        ({"transform": {**DESCRIPTION["transform"], "channels": 3}}, "transform"),
        ({"trained_on": None}, "trained_on is None"),
        ({"unit_rows": 3}, "unit_rows is 3, expected the name of a layer"),
    ],
)
def test_a_strange_description_is_refused(
    tmp_path: Path, model: ConvNet, change: dict[str, Any], part: str, refused: Any
) -> None:
    wrong = {**DESCRIPTION, **change}
    with refused(part):
        save_run(tmp_path / "a.pt", model, wrong)
    assert list(tmp_path.iterdir()) == []
    save_file(model.state_dict(), tmp_path / "a.safetensors", metadata={"run": json.dumps(wrong)})
    with refused(part):
        open_run(str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("text", ["{", "[]", "3", "[" * 100_000])
def test_a_description_that_is_no_object_is_refused(tmp_path: Path, model: ConvNet, text: str, refused: Any) -> None:
    save_file(model.state_dict(), tmp_path / "a.safetensors", metadata={"run": text})
    with refused("its description is not"):
        read_run(tmp_path / "a.safetensors")


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, torch.zeros(1)])
def test_only_plain_json_is_described(tmp_path: Path, model: ConvNet, value: Any, refused: Any) -> None:
    with refused("its description is not plain JSON"):
        save_run(tmp_path / "a.pt", model, {**DESCRIPTION, "best": value})


def test_weights_of_another_model_are_refused(run: Path, tmp_path: Path, refused: Any) -> None:
    other = tmp_path / "other.pt"
    torch.save(ConvNet(4, channels=1, image_size=8).state_dict(), other)
    with refused("other.pt", "of another architecture than run:", "'classifier.weight' (4, 64), expected (3, 64)"):
        open_run(str(run), checkpoint=other)


def test_a_classifier_of_unit_rows_comes_back(tmp_path: Path, model: ConvNet) -> None:
    """And is an ordinary layer to whoever exports a new one into the file."""
    with_normed(model, "classifier", 20.0)
    images = torch.randn(4, 1, 8, 8)
    expected = model(images)
    save_run(tmp_path / "a.pt", model, {**DESCRIPTION, "unit_rows": fold(model, "classifier")})
    module = open_run(str(tmp_path / "a.pt")).module
    torch.testing.assert_close(module(images), expected, rtol=1e-4, atol=1e-4)
    found = find_classifier(module, images)
    assert found.name == "classifier.1"
    weight = torch.randn_like(found.weight)
    replace_in_checkpoint(
        tmp_path / "a.pt", tmp_path / "b.pt", layer="classifier.1", weight=weight, bias=torch.ones(3),
        expected=head_digest(found.weight, found.bias),
    )  # fmt: skip
    patched = open_run(str(tmp_path / "b.pt")).module
    with capture(patched, "classifier.1") as captured:
        logits = patched(images)
    torch.testing.assert_close(captured.features @ weight.T + 1, logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(captured.features.norm(dim=1), torch.ones(4))


def test_unit_rows_of_no_linear_layer_are_refused(tmp_path: Path, model: ConvNet, refused: Any) -> None:
    for layer in ("pool", "nowhere", ""):
        save_run(tmp_path / "a.pt", model, {**DESCRIPTION, "unit_rows": layer})
        with refused("has no linear classifier", repr(layer)):
            open_run(str(tmp_path / "a.pt"))
