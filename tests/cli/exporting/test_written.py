"""What export writes besides a plain checkpoint: programs of heads and models, each proved or not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache
from featurecache.export import open_program
from featurecache.models import open_model
from rebalance import GatedHead, load_head

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def features(project: Any) -> torch.Tensor:
    """The cached features of test."""
    return torch.from_numpy(np.asarray(FeatureCache(project.cache)["test"].features, np.float32))


@pytest.fixture(scope="module")
def images(project: Any) -> torch.Tensor:
    """The images of test as the model reads them."""
    from featurecache.datasets import open_images

    opened = open_images(str(project.photos / "test"), transform=open_model(f"run:{project.model}").transform)
    return torch.stack([opened[i][0] for i in range(len(opened))])


@pytest.mark.parametrize("method", ["ncm", "disalign", "crt"])
def test_any_head_becomes_a_program(
    method: str, project: Any, features: torch.Tensor, tmp_path: Path, answer: Answer
) -> None:
    out = tmp_path / "head.pt2"
    found = answer("export", project.heads[method], "--module", out)
    assert (found["module"], found["classes"], found["checked"]) == (str(out), 4, {})
    assert found["proved"]["module"]["rows"] == 24
    head = load_head(project.heads[method])
    extra = {"about.json": ""}
    program = torch.export.load(str(out), extra_files=extra).module()
    for rows in (1, 7):
        torch.testing.assert_close(program(features[:rows]), head(features[:rows]), rtol=1e-5, atol=1e-5)
    about = json.loads(extra["about.json"])
    assert about["class_names"] == ["cat", "dog", "eel", "fox"]
    assert about["record"] == dict(head.record)
    assert about["input"] == {"name": "features", "row": [64]}


def test_the_whole_model_with_a_head_that_no_checkpoint_holds(
    project: Any, features: torch.Tensor, images: torch.Tensor, tmp_path: Path, done: Run
) -> None:
    pytest.importorskip("onnxruntime")
    files = {"module": tmp_path / "m.pt2", "onnx": tmp_path / "m.onnx"}
    words = ("--full", "--module", files["module"], "--onnx", files["onnx"], "--check", project.photos / "test")
    result = done("export", project.heads["ncm"], "--into", project.model, *words)
    lines = result.stdout.splitlines()
    assert lines[0] == f"{files['module']}: the whole model, from images to logits, for torch.export.load"
    assert lines[2].startswith(f"{files['onnx']}: the whole model, from images to logits, as ONNX (opset ")
    for line in (lines[1], lines[3]):
        assert line.startswith(f"  checked on 24 images of {project.photos / 'test'}: logits differ by at most ")
        assert "features of the 24 images in the cache differ by at most " in line
    expected = load_head(project.heads["ncm"])(features)
    for path in files.values():
        program = open_program(path)
        assert program.row == (3, 16, 16)
        assert program.about["input"]["transform"] == open_model(f"run:{project.model}").transform_text
        # The cached features are rounded to float16: 5e-4 of numbers of about 1.
        torch.testing.assert_close(program(images), expected, rtol=1e-2, atol=1e-2)
        assert torch.equal(program(images[:1]).argmax(), program(images).argmax(1)[0])


def test_without_images_a_whole_model_is_checked_on_noise_and_says_so(
    project: Any, tmp_path: Path, done: Run, answer: Answer
) -> None:
    words = ("export", project.heads["crt"], "--full", "--module", tmp_path / "m.pt2")
    assert "checked on 7 random inputs, as --check names no images" in done(*words).stdout
    found = answer(*words)  # the model is found beside the cache that the head was made on
    assert (found["proved"], found["checked"]["module"]["data"], found["checked"]["module"]["rows"]) == ({}, None, 7)


def test_a_head_alone_is_checked_on_what_the_model_makes_of_images(
    project: Any, tmp_path: Path, answer: Answer
) -> None:
    words = ("--module", tmp_path / "h.pt2", "--check", project.photos / "val")
    found = answer("export", project.heads["ncm"], *words)
    assert found["proved"]["module"]["rows"] == 24
    assert (found["checked"]["module"]["rows"], found["checked"]["module"]["features"]["rows"]) == (16, 16)


def test_a_new_checkpoint_is_checked_end_to_end(project: Any, tmp_path: Path, answer: Answer) -> None:
    words = ("--into", project.model, "--out", tmp_path / "x.pt", "--check", project.photos / "test")
    check = answer("export", project.heads["crt"], *words)["checked"]["checkpoint"]
    assert (check["data"], check["rows"], check["features"]["rows"]) == (str(project.photos / "test"), 24, 24)
    assert check["largest"] <= check["tolerance"]
    assert check["features"]["largest"] <= check["features"]["tolerance"]


def test_a_gate_that_is_the_same_for_all_is_folded(project: Any, tmp_path: Path, done: Run, refused: Refused) -> None:
    head, joint = load_head(project.heads["disalign"]), load_head(project.heads["joint"])
    assert isinstance(head, GatedHead)
    path, out = tmp_path / "h.safetensors", tmp_path / "x.pt"
    replace(head, gate=torch.zeros(head.width), record=joint.record).save(path)
    words = ("export", path, "--into", project.model, "--out", out, "--cache", project.cache)
    refused(*words, holds=("corrects every row's logits", "--fold makes one weight and bias"))
    assert not out.exists()
    assert f"{path}: folded into one weight and bias: its gate" in done(*words, "--fold").stdout
    assert out.exists()
    refused("export", project.heads["disalign"], *words[2:], "--fold", holds=("disalign corrects every row's logits",))


TWO = """\
import torch
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(12, 4), nn.Linear(3, 4)

    def forward(self, images):
        pooled = [nn.functional.adaptive_avg_pool2d(images, size).flatten(1) for size in (2, 1)]
        return (self.a(pooled[0]) + self.b(pooled[1])) / 2


def two():
    return Two()
"""


def test_a_classifier_of_two_layers_stored_in_half_precision(
    project: Any, tmp_path: Path, done: Run, answer: Answer
) -> None:
    (tmp_path / "two.py").write_text(TWO, "utf-8")
    two, weights, head = f"file:{tmp_path / 'two.py'}:two", tmp_path / "a.pt", tmp_path / "h.safetensors"
    state = {f"module.{name}": value.half() for name, value in open_model(two).module.state_dict().items()}
    torch.save({"state_dict": state}, weights)
    given = ("--model", two, "--image-size", 16)
    photos = project.photos / "val"
    done("extract", tmp_path / "x.cache", *given, "--checkpoint", weights, "--split", f"train={photos}")
    done("fit", "crt", tmp_path / "x.cache", "--out", head)
    words = ("export", head, *given, "--into", weights, "--check", photos)
    found = answer(*words, "--out", tmp_path / "b.pt")
    assert found["layer"] == "a+b"
    for proof in (found["proved"]["checkpoint"], found["checked"]["checkpoint"]):
        assert 0 < proof["largest"] < proof["tolerance"]  # weights rounded to float16
    after = torch.load(tmp_path / "b.pt", weights_only=True)["state_dict"]
    assert {value.dtype for value in after.values()} == {torch.float16}
    whole = answer(*words, "--full", "--module", tmp_path / "m.pt2")["checked"]["module"]
    assert whole["largest"] < 1e-4 < proof["largest"]


def test_a_cache_of_another_extraction_is_no_proof(project: Any, tmp_path: Path, done: Run, refused: Refused) -> None:
    other, out = tmp_path / "other.cache", tmp_path / "h.pt2"
    done(
        "extract",
        other,
        "--model",
        f"run:{project.model}",
        "--split",
        f"a={project.photos / 'val'}",
        "--dtype",
        "float32",
    )
    refused("export", project.heads["crt"], "--module", out, "--cache", other, holds=("another model or extraction",))
    far = tmp_path / "far" / "away" / "h.safetensors"
    far.parent.mkdir(parents=True)
    load_head(project.heads["crt"]).save(far)
    refused("export", far, "--module", out, holds=("no such cache is beside the head", "--cache", "--unproved"))
    assert not out.exists()
    assert "not proved" in done("export", far, "--module", out, "--unproved").stderr
    assert out.exists()


class TestNotTheHeads:
    """What does not behave as the head is removed, and the command fails."""

    @pytest.fixture(autouse=True)
    def _nothing_written(self, tmp_path: Path) -> Any:
        yield
        assert [path.name for path in tmp_path.iterdir() if path.suffix in (".pt", ".pt2", ".onnx", ".part")] == []

    def test_a_checkpoint_that_holds_other_numbers(
        self, project: Any, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import featurecache.checkpoint as checkpoint

        read = checkpoint.read_classifier

        def other(*given: Any, **more: Any) -> Any:
            weight, bias = read(*given, **more)
            return weight.roll(1, 0), bias

        monkeypatch.setattr(checkpoint, "read_classifier", other)
        words = ("--into", project.model, "--out", tmp_path / "x.pt")
        refused("export", project.heads["crt"], *words, holds=("x.pt does not give the head's logits",))

    @pytest.mark.parametrize("full", [(), ("--full",)])
    def test_a_program_that_computes_something_else(
        self, full: tuple[str, ...], project: Any, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import featurecache.export as export

        read = export.open_archive

        def other(path: Path) -> Any:
            program = read(path)
            return replace(program, run=lambda inputs: program.run(inputs) * 1.01)

        monkeypatch.setattr(export, "open_archive", other)
        words = ("--module", tmp_path / "x.pt2", *full)
        refused("export", project.heads["ncm"], *words, holds=("x.pt2 does not give the head's logits",))

    def test_a_model_whose_code_is_another(
        self, project: Any, models: Path, tmp_path: Path, done: Run, refused: Refused
    ) -> None:
        tiles, folder = f"file:{models}:tiles", tmp_path / "in"
        folder.mkdir()
        torch.save(open_model(tiles, num_classes=4).module.state_dict(), folder / "a.state")
        given = ("--model", tiles, "--checkpoint", folder / "a.state", "--image-size", 16)
        done("extract", folder / "x.cache", *given, "--split", f"train={project.photos / 'val'}")
        done("fit", "crt", folder / "x.cache", "--out", folder / "h.safetensors")
        twice = folder / "twice.py"
        text = models.read_text("utf-8").replace("return self.fc(features)", "return 2 * self.fc(features)")
        twice.write_text(text, "utf-8")
        words = ("export", folder / "h.safetensors", "--into", folder / "a.state", "--image-size", 16)
        check, out = ("--check", project.photos / "val"), folder / "b.state"
        refused(*words, "--out", out, "--model", f"file:{twice}:tiles", *check, holds=("not give the head's logits",))
        assert not out.exists()
        done(*words, "--out", out, "--model", tiles, *check)
        done(*words, "--full", "--module", folder / "m.pt2", "--model", tiles)
        wrong = ("--full", "--module", folder / "n.pt2", "--model", f"file:{twice}:tiles")
        refused(*words, *wrong, holds=("its classifier 'fc' is another one",))

    def test_images_that_are_others_than_the_cached(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        for name in ("cat", "dog", "eel", "fox"):
            other = tmp_path / "photos" / name / "00.png"
            other.parent.mkdir(parents=True)
            source = project.photos / "test" / ("fox" if name == "cat" else "cat") / "05.png"
            other.write_bytes(source.read_bytes())
        words = ("--into", project.model, "--out", tmp_path / "x.pt", "--check", tmp_path / "photos")
        refused("export", project.heads["crt"], *words, holds=("features of 4 of 4 images are not the cached ones",))

    def test_another_model(self, project: Any, tmp_path: Path, done: Run, refused: Refused) -> None:
        other = tmp_path / "sub" / "other.pt"
        other.parent.mkdir()
        done("train", project.photos / "train", "--out", other, "--image-size", 16, "--epochs", 1, "--holdout", 0)
        words = ("--into", other, "--full", "--module", tmp_path / "x.pt2")
        refused("export", project.heads["crt"], *words, holds=("other.pt", "another model than the one"))


def test_names_are_looked_at_before_anything_is_written(project: Any, tmp_path: Path, refused: Refused) -> None:
    words = ("export", project.heads["crt"], "--into", project.model, "--out", tmp_path / "x.pt")
    refused(*words, "--module", tmp_path / "x.onnx", holds=("ends in .pt2",))
    refused(*words, "--onnx", tmp_path / "x.pt2", holds=("ends in .onnx",))
    refused(*words, "--module", tmp_path / "no" / "x.pt2", holds=("existing folder",))
    assert list(tmp_path.iterdir()) == []
