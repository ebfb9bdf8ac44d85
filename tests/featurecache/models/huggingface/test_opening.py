"""Models of transformers, from folders with random weights and without a network."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from featurecache.classifier import find_classifier, logits_of
from featurecache.models.huggingface.library import quiet
from featurecache.models.huggingface.opening import open_huggingface

Folder = Callable[..., Path]


def logits(module: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """(B, K) of the pixels (B, C, H, W)."""
    with torch.inference_mode():
        return logits_of(module(pixels))


SMALL = {"hidden_sizes": [8, 16], "depths": [1, 1], "embedding_size": 8}


def test_logits_and_pixels_are_the_models_own(
    transformers: ModuleType, hf_folder: Folder, photo: Image.Image, no_network: list[Any]
) -> None:
    folder = hf_folder("ViTForImageClassification", id2label=dict(enumerate("abcdefg")))
    model = open_huggingface(str(folder))
    with quiet(transformers):
        theirs = transformers.ViTForImageClassification.from_pretrained(folder).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = processor(images=photo, return_tensors="pt")["pixel_values"]
    assert torch.equal(model.transform(photo), pixels[0])
    with torch.inference_mode():
        assert torch.equal(logits_of(model.module(pixels)), theirs(pixels).logits)
    assert (model.has_head, model.class_names, model.notes) == (True, tuple("abcdefg"), ())
    assert model.source == f"hf:{folder}"
    assert not model.module.training
    assert find_classifier(model.module, pixels).weight.shape == (7, 16)
    assert not no_network


@pytest.mark.parametrize(
    ("kind", "config", "name"),
    [
        ("ResNetForImageClassification", SMALL, "classifier.1"),
        ("ConvNextForImageClassification", {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}, "classifier"),
        (
            "SwinForImageClassification",
            {"patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
            "classifier",
        ),
        ("DeiTForImageClassification", {}, "classifier"),
        ("MobileNetV2ForImageClassification", {"image_size": 32, "depth_multiplier": 0.1}, "classifier"),
    ],
)
def test_classifiers_of_every_kind_are_proved(
    hf_folder: Folder, photo: Image.Image, kind: str, config: dict[str, Any], name: str
) -> None:
    model = open_huggingface(str(hf_folder(kind, num_labels=5, **config)))
    found = find_classifier(model.module, torch.stack([model.transform(photo), model.transform(photo.rotate(90))]))
    assert (found.name, found.weight.shape[0], model.class_names) == (name, 5, None)


def test_two_distilled_heads_are_averaged(hf_folder: Folder, photo: Image.Image) -> None:
    model = open_huggingface(str(hf_folder("DeiTForImageClassificationWithTeacher")))
    output = model.module(model.transform(photo)[None])
    torch.testing.assert_close(logits_of(output), (output.cls_logits + output.distillation_logits) / 2)


@pytest.mark.parametrize("form", ["shards", "bin"])
def test_weights_come_in_shards_and_as_pickles(hf_folder: Folder, form: str) -> None:
    folder = hf_folder("ViTForImageClassification", shards="4KB" if form == "shards" else "1GB")
    whole = open_huggingface(str(hf_folder("ViTForImageClassification"))).module
    if form == "bin":
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    else:
        assert len(list(folder.glob("model-*.safetensors"))) > 1
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(logits(open_huggingface(str(folder)).module, pixels), logits(whole, pixels))


def test_half_precision_files_are_read_as_float32(hf_folder: Folder) -> None:
    folder = hf_folder("ViTForImageClassification")
    halves = {key: value.half() for key, value in load_file(folder / "model.safetensors").items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    module = open_huggingface(str(folder)).module
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("wrapper", ["", "module.", "model."])
@pytest.mark.parametrize("saved", ["by transformers", "by PyTorch"])
def test_a_checkpoint_brings_its_own_classes(hf_folder: Folder, tmp_path: Path, saved: str, wrapper: str) -> None:
    folder = hf_folder("ViTForImageClassification", id2label=dict(enumerate("abcdefg")))
    other = hf_folder("ViTForImageClassification", num_labels=4)
    whole = open_huggingface(str(other)).module
    # The two do not name their tensors alike.
    state = load_file(other / "model.safetensors") if saved == "by transformers" else whole.state_dict()
    torch.save({wrapper + key: value for key, value in state.items()}, tmp_path / "w.pth")
    model = open_huggingface(str(folder), checkpoint=tmp_path / "w.pth", num_classes=9)
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(logits(model.module, pixels), logits(whole, pixels))
    assert (model.has_head, model.class_names) == (True, None)


def test_a_checkpoint_may_bring_the_classifier_that_a_backbone_lacks(hf_folder: Folder, tmp_path: Path) -> None:
    state = load_file(hf_folder("ViTForImageClassification", num_labels=4) / "model.safetensors")
    torch.save(state, tmp_path / "w.pth")
    model = open_huggingface(str(hf_folder("ViTModel")), checkpoint=tmp_path / "w.pth")
    assert model.has_head
    assert logits_of(model.module(torch.randn(1, 3, 32, 32))).shape == (1, 4)


@pytest.mark.parametrize("kind", ["ViTModel", "ViTForImageClassification"])
def test_a_checkpoint_without_a_classifier_gives_features(hf_folder: Folder, tmp_path: Path, kind: str) -> None:
    folder = hf_folder("ViTForImageClassification")
    state = load_file(folder / "model.safetensors")
    torch.save({key: value for key, value in state.items() if not key.startswith("classifier")}, tmp_path / "w.pth")
    model = open_huggingface(str(hf_folder(kind)), checkpoint=tmp_path / "w.pth")
    assert not model.has_head
    assert model.notes
    pixels = torch.randn(2, 3, 32, 32)
    output = model.module(pixels)
    whole = open_huggingface(str(folder)).module
    expected = whole.vit(pixels).last_hidden_state[:, 0]  # type: ignore[operator, union-attr]
    torch.testing.assert_close(output if isinstance(output, torch.Tensor) else output[0], expected)


def test_a_backbone_gives_its_pooled_output(hf_folder: Folder, photo: Image.Image) -> None:
    model = open_huggingface(str(hf_folder("ResNetModel", **SMALL)))
    assert (model.has_head, model.class_names) == (False, None)
    assert "holds ResNetModel, no image classifier: features only" in model.notes[0]
    assert model.module(model.transform(photo)[None]).pooler_output.shape == (1, 16, 1, 1)


def test_a_backbone_keeps_a_pooler_without_weights(hf_folder: Folder, tmp_path: Path) -> None:
    folder = hf_folder("ResNetModel", **SMALL)
    own = open_huggingface(str(folder)).module
    torch.save(own.state_dict(), tmp_path / "w.pth")
    model = open_huggingface(str(folder), checkpoint=tmp_path / "w.pth")
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.module(pixels).pooler_output, own(pixels).pooler_output)


def test_a_pooler_is_never_made_up(hf_folder: Folder, photo: Image.Image) -> None:
    folder = hf_folder("ViTModel", keep=lambda key: not key.startswith("pooler"))
    model = open_huggingface(str(folder))
    pixels = model.transform(photo)[None]
    features = model.module(pixels)
    assert torch.equal(features, model.module.backbone(pixels).last_hidden_state[:, 0])  # type: ignore[operator, union-attr]
    assert any("has no weights for its pooler" in note for note in model.notes)
    assert any("its class token" in note for note in model.notes)


def test_features_that_are_random_are_refused(hf_folder: Folder, refused: Any) -> None:
    small = {"decoder_hidden_size": 8, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    folder = hf_folder("ViTMAEForPreTraining", **small)
    with refused("gives other features for the same image every time", "mask_ratio"):
        open_huggingface(str(folder))


def test_tensors_that_are_missing_are_never_made_up(hf_folder: Folder, refused: Any) -> None:
    folder = hf_folder("ViTForImageClassification", keep=lambda key: key != "classifier.bias")
    with refused("lacks 1 of the model's tensors (first 'classifier.bias')", "pass --checkpoint"):
        open_huggingface(str(folder))


def test_the_image_size_changes_what_the_processor_gives(hf_folder: Folder, photo: Image.Image, refused: Any) -> None:
    assert open_huggingface(str(hf_folder("ResNetForImageClassification", **SMALL)), image_size=64).transform(
        photo
    ).shape == (3, 64, 64)
    with refused("does not run on images of 3 x 64 x 64"):
        open_huggingface(str(hf_folder("ViTForImageClassification")), image_size=64)


def test_grey_models_get_grey_images(transformers: ModuleType, hf_folder: Folder, photo: Image.Image) -> None:
    grey = transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5], image_std=[0.5])
    model = open_huggingface(str(hf_folder("ViTForImageClassification", processor=grey, num_channels=1)))
    assert model.transform(photo).shape == (1, 32, 32)
    assert "'mode': 'L'" in str(json.loads(model.transform_text.partition(" ")[2]))


@pytest.mark.parametrize("processor", [None, "vit"])
def test_without_a_processor_for_its_images_the_transform_refuses(
    hf_folder: Folder, photo: Image.Image, refused: Any, processor: str | None
) -> None:
    # The second: three means for a model of grey images.
    folder = hf_folder("ViTForImageClassification", processor=processor, num_channels=1 if processor else 3)
    model = open_huggingface(str(folder))
    with refused("no preprocessor_config.json" if processor is None else "no image processor for its images", "--tran"):
        model.transform(photo)


def test_names_that_are_no_model_are_refused(tmp_path: Path, no_network: list[Any], refused: Any) -> None:
    for name in ("./nothing", "/none/at/all", "a b", "one/two/three"):
        with refused("is no folder and no name of a model; expected hf:FOLDER or hf:OWNER/NAME"):
            open_huggingface(name)
    with refused("is no model folder of transformers that can be read"):
        open_huggingface(str(tmp_path))
    assert not no_network


def test_a_name_without_a_network_tells_the_way_out(
    transformers: ModuleType, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    with refused("'hf:someone/no-such-model' could not be fetched; download its files and pass hf:FOLDER"):
        open_huggingface("someone/no-such-model")


def test_code_of_the_models_own_is_never_run(hf_folder: Folder, refused: Any) -> None:
    folder = hf_folder("ViTForImageClassification")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForImageClassification": "own.Net"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('this ran')")
    with refused("brings Python code of its own, which is never run here", "file:path.py:function"):
        open_huggingface(str(folder))


def test_a_damaged_file_is_refused(hf_folder: Folder, refused: Any) -> None:
    folder = hf_folder("ViTForImageClassification")
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with refused("model.safetensors", "not a safetensors file, or a damaged one"):
        open_huggingface(str(folder))


def test_other_classes_than_the_datas_are_refused(hf_folder: Folder, refused: Any) -> None:
    with refused("comes with a classifier of 7 classes, the data have 10; pass --checkpoint"):
        open_huggingface(str(hf_folder("ViTForImageClassification")), num_classes=10)


def test_weights_of_another_model_are_refused(hf_folder: Folder, tmp_path: Path, refused: Any) -> None:
    other = hf_folder("ResNetForImageClassification", **SMALL)
    shutil.copy(other / "model.safetensors", tmp_path / "w.safetensors")
    with refused("w.safetensors", "of another architecture than 'hf:"):
        open_huggingface(str(hf_folder("ViTForImageClassification")), checkpoint=tmp_path / "w.safetensors")


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_timms_models_in_transformers_clothes_keep_timms_transform(
    transformers: ModuleType, tmp_path: Path, photo: Image.Image
) -> None:
    configuration = {
        "input_size": [3, 48, 48],
        "crop_pct": 0.8,
        "interpolation": "bilinear",
        "mean": [0.5],
        "std": [1.0],
    }
    with quiet(transformers):
        config = transformers.TimmWrapperConfig(
            architecture="test_resnet", num_labels=5, model_args={"pretrained_cfg": configuration}
        )
        config.pretrained_cfg = configuration
        transformers.TimmWrapperForImageClassification(config).save_pretrained(tmp_path)
    model = open_huggingface(str(tmp_path))
    pixels = model.transform(photo)[None]
    assert pixels.shape == (1, 3, 48, 48)
    assert '"crop_pct": 0.8' in model.transform_text
    assert find_classifier(model.module, pixels).weight.shape[0] == 5
