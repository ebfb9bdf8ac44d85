"""The paper's checkpoints, in their own layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from featurecache.classifier import find_classifier
from featurecache.datasets.transforms import ImageTransform
from featurecache.models import open_model
from featurecache.models.reference import _network
from featurecache.models.resnet import BasicBlock, Bottleneck, ResNet

TEN: dict[str, Any] = {"block": BasicBlock, "depths": (1, 1, 1, 1)}
Write = Callable[..., Path]


def network(**options: Any) -> ResNet:
    torch.manual_seed(0)
    return ResNet(**{**TEN, "num_classes": 5, **options}).eval()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file of the paper's code with a network's weights; `more` is added to a part: {"classifier": {…}}."""

    def save(module: ResNet, name: str = "final_model_checkpoint.pth", **more: dict[str, Tensor]) -> Path:
        state = {f"module.{key}": value for key, value in module.state_dict().items()}
        parts = {
            "feat_model": {key: value for key, value in state.items() if ".fc." not in key},
            "classifier": {key: value for key, value in state.items() if ".fc." in key},
        }
        for part, tensors in more.items():
            parts[part] |= tensors
        figures = {"epoch": 90, "best_epoch": 88, "best_acc": np.float64(0.44), "centroids": np.zeros((5, 512), "f4")}
        torch.save({**figures, "state_dict_best": parts}, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize(
    "options",
    [
        TEN,
        {"block": Bottleneck, "depths": (1, 1, 1, 1), "groups": 32, "base": 4},
        {"block": Bottleneck, "depths": (3, 4, 6, 3)},
    ],
    ids=["resnet10", "resnext 32x4d", "resnet50"],
)
def test_the_network_is_told_from_its_tensors(write: Write, options: dict[str, Any]) -> None:
    original = network(**options)
    model = open_model(f"reference:{write(original)}")
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model.module(images), original(images))
    assert not model.module.training
    assert model.has_head
    assert model.notes == ()
    assert find_classifier(model.module, images).name == "fc"


@pytest.mark.parametrize("depths", [(3, 4, 23, 3), (3, 8, 36, 3)])
@pytest.mark.parametrize("options", [{}, {"groups": 32, "base": 4}])
def test_deep_networks_are_told_from_their_names(
    depths: tuple[int, ...], options: dict[str, int], tmp_path: Path
) -> None:
    with torch.device("meta"):
        original = ResNet(Bottleneck, depths, 5, **options)
        told = _network(original.state_dict(), tmp_path, 5)
    shapes = [{key: value.shape for key, value in module.state_dict().items()} for module in (original, told)]
    assert shapes[0] == shapes[1]


def test_learned_scales_are_in_the_classifier(write: Write) -> None:
    original, scales = network(), torch.tensor([1.0, 2.0, 0.5, -1.0, 0.0])
    model = open_model(f"reference:{write(original, classifier={'module.scales': scales})}")
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model.module(images), scales * original(images))  # float32: scaled before or after


def test_optional_modules_are_left_out_and_said(write: Write) -> None:
    extra = {"module.fc_add.weight": torch.ones(2, 2), "module.modulatedatt.conv.weight": torch.ones(2, 2)}
    model = open_model(f"reference:{write(network(), feat_model=extra)}")
    assert "2 tensors left out" in model.notes[0]
    assert "'fc_add.weight'" in model.notes[0]


def test_images_are_resized_to_256_and_cropped_to_224(write: Write) -> None:
    path = write(network())
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    model = open_model(f"reference:{path}")
    assert model.transform == ImageTransform(224, 3, mean, std, crop=0.875, interpolation="bilinear")
    assert model.transform_text.startswith("shorter side to 256 (bilinear), centre crop 224, RGB")
    assert open_model(f"reference:{path}", image_size=64).transform(Image.new("RGB", (99, 80))).shape == (3, 64, 64)


def test_inaturalist_has_its_own_mean(write: Write) -> None:
    transform = open_model(f"reference:{write(network(num_classes=8142))}").transform
    assert isinstance(transform, ImageTransform)
    assert (transform.mean, transform.std) == ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192))


def test_without_a_classifier_it_gives_features(write: Write, tmp_path: Path) -> None:
    original = network()
    root = torch.load(write(original), weights_only=False)
    del root["state_dict_best"]["classifier"]
    torch.save(root, tmp_path / "body.pth")
    model = open_model(f"reference:{tmp_path / 'body.pth'}")
    assert not model.has_head
    assert model.notes[0].endswith("has no classifier ('fc'): features only")
    assert model.module(torch.randn(2, 3, 64, 64)).shape == (2, 512)


def test_other_weights_take_the_files_place(write: Write) -> None:
    first, second = network(), network(num_classes=7)
    torch.nn.init.ones_(second.fc.weight)
    path, other = write(first), write(second, "other.pth")
    torch.save(second.state_dict(), other.with_name("plain.pth"))
    for checkpoint in (other, other.with_name("plain.pth")):
        module = open_model(f"reference:{path}", checkpoint=checkpoint).module
        assert all(torch.equal(value, second.state_dict()[name]) for name, value in module.state_dict().items())


def test_half_precision_and_old_normalisations_are_read(write: Write, tmp_path: Path) -> None:
    root = torch.load(write(network()), weights_only=False)
    body = root["state_dict_best"]["feat_model"]
    kept = {key: value.half() for key, value in body.items() if "num_batches" not in key}
    root["state_dict_best"]["feat_model"] = kept
    torch.save(root, tmp_path / "half.pth")
    module = open_model(f"reference:{tmp_path / 'half.pth'}").module
    assert {value.dtype for value in module.parameters()} == {torch.float32}
    assert not any(value.is_meta for value in module.state_dict().values())
    module(torch.randn(1, 3, 64, 64))


def test_the_weights_can_be_trained(write: Write) -> None:
    module = open_model(f"reference:{write(network())}").module
    module.train()(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(value.grad is not None for value in module.parameters())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda body: body.pop("module.layer2.0.conv1.weight"), "its layer1 to layer4 have 1, 0, 1, 1 blocks"),
        (lambda body: body.pop("module.bn1.bias"), "1 missing (first 'bn1.bias')"),
        (lambda body: body.update({"module.extra": torch.ones(1)}), "1 unexpected (first 'extra')"),
        (lambda body: body.update({"module.layer1.0.conv2.weight": torch.ones(0, 0)}), "no ResNet or ResNeXt"),
        (
            lambda body: body.update({f"module.layer1.{n}.conv1.weight": torch.ones(1) for n in range(100)}),
            "have 65, 1, 1, 1 blocks",
        ),
        (
            # 40 kB that claim a network of gigabytes
            lambda body: body.update(
                {
                    "module.layer1.0.conv3.weight": torch.ones(1),
                    "module.layer1.0.conv2.weight": torch.ones(10**4, 1, 1, 1),
                }
            ),
            "another architecture",
        ),
    ],
)
def test_other_networks_are_refused(write: Write, change: Callable[[Any], Any], part: str, refused: Any) -> None:
    path = write(network())
    root = torch.load(path, weights_only=False)
    change(root["state_dict_best"]["feat_model"])
    torch.save(root, path)
    with refused("final_model_checkpoint.pth", part):
        open_model(f"reference:{path}")


def test_files_that_are_not_there_or_hold_no_averages(write: Write, tmp_path: Path, refused: Any) -> None:
    with refused("does not exist", error=FileNotFoundError):
        open_model(f"reference:{tmp_path / 'no.pth'}")
    with refused("no averaged weights"):
        open_model(f"reference:{write(network())}", ema=True)
