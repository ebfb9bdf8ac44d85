"""Model folders of transformers, whole and in shards, load again with their new classifier."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from featurecache.checkpoint import classifier_key, load_state, read_classifier, replace_in_checkpoint
from featurecache.classifier import capture, find_classifier
from featurecache.models import open_model
from featurecache.models.huggingface.library import import_transformers, quiet
from featurecache.storage import head_digest

CLASSES = 7
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 8,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "ViTForImageClassification": VIT,
    "DeiTForImageClassificationWithTeacher": VIT,
    "ResNetForImageClassification": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "ConvNextForImageClassification": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "SwinForImageClassification": {"image_size": 32, "embed_dim": 8, "depths": [1], "num_heads": [1], "window_size": 4},
    "TimmWrapperForImageClassification": {"architecture": "test_vit", "model_args": {"img_size": 32}},
}


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    """The library; the tests are skipped where it is not installed."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    return import_transformers()


@pytest.fixture
def saved(transformers: Any, tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    """A folder and the model in it: `saved("ViTForImageClassification", shards="20KB", dtype=torch.float16)`."""

    def save(kind: str, *, shards: str = "1GB", dtype: torch.dtype = torch.float32) -> tuple[Path, Any]:
        own = getattr(transformers, kind)
        torch.manual_seed(0)
        model = own(own.config_class(num_labels=CLASSES, **CONFIGS[kind])).eval().to(dtype)
        with quiet(transformers):
            model.save_pretrained(tmp_path / "in", max_shard_size=shards)
            transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "in")
        return tmp_path / "in", model

    return save


def in_pytorchs_format(folder: Path) -> None:
    """The weights of a folder as transformers 4 wrote them: .bin in place of .safetensors."""
    index = folder / "model.safetensors.index.json"
    for file in sorted(folder.glob("*.safetensors")):
        torch.save(load_file(file), folder / f"pytorch_{file.stem}.bin")
        file.unlink()
    if index.exists():
        text = index.read_text().replace('"model-', '"pytorch_model-').replace(".safetensors", ".bin")
        (folder / "pytorch_model.bin.index.json").write_text(text)
        index.unlink()


def opened(transformers: Any, folder: Path, model: nn.Module, dtype: torch.dtype = torch.float32) -> Any:
    with quiet(transformers):
        read, loading = type(model).from_pretrained(folder, dtype=dtype, output_loading_info=True)  # type: ignore[attr-defined]
    assert not any(loading.values())
    return read.eval()


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("shards", ["1GB", "4KB"])
def test_from_pretrained_gives_the_logits_of_the_head(
    kind: str, shards: str, transformers: Any, saved: Callable[..., tuple[Path, Any]], tree: Any, tmp_path: Path
) -> None:
    if kind.startswith("Timm"):
        pytest.importorskip("timm")
    into, model = saved(kind, shards=shards)
    images = torch.randn(2, 3, 32, 32)
    found = find_classifier(model, images)
    weight, bias = torch.randn(found.weight.shape), torch.randn(CLASSES)
    terms = () if found.is_plain else [vars(term) for term in found.layers]
    before = tree(into)
    done = replace_in_checkpoint(
        into,
        tmp_path / "out",
        recorded=found.name,
        weight=weight,
        bias=bias,
        expected=head_digest(found.weight, found.bias),
        terms=terms,
    )
    after = tree(tmp_path / "out")
    assert tree(into) == before
    assert list(after) == list(before)
    assert {name for name in before if after[name] != before[name]} == set(done.files)
    assert all(len(after[name]) == len(before[name]) for name in before)
    copied = opened(transformers, tmp_path / "out", model)
    with torch.no_grad(), capture(model, found) as captured:
        model(images)
        # float32 sums of some tens of products, in another order.
        torch.testing.assert_close(copied(images).logits, captured.features @ weight.T + bias, rtol=1e-5, atol=1e-5)
    read = read_classifier(tmp_path / "out", layer=done.layer, terms=terms)
    for value, wanted in zip(read, (weight, bias), strict=True):
        assert value is not None
        torch.testing.assert_close(value.float(), wanted, rtol=0, atol=0 if not terms else 1e-6)
    other = copied.state_dict()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, other[name])}
    assert changed == {f"{term.name}.{end}" for term in found.layers for end in ("weight", "bias")}


@pytest.mark.parametrize("kind", [".bin", ".safetensors"])
@pytest.mark.parametrize("shards", ["1GB", "4KB"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_pytorchs_files(
    kind: str, shards: str, dtype: torch.dtype, transformers: Any, saved: Any, tmp_path: Path
) -> None:
    into, model = saved("ViTForImageClassification", shards=shards, dtype=dtype)
    if kind == ".bin":
        in_pytorchs_format(into)
    assert any(path.suffix == kind for path in into.iterdir())
    assert classifier_key(load_state(into), (CLASSES, 16)) == "classifier"
    old = model.classifier
    weight, bias = torch.randn(CLASSES, 16), torch.randn(CLASSES)
    done = replace_in_checkpoint(
        into, tmp_path / "out", weight=weight, bias=bias, expected=head_digest(old.weight, old.bias)
    )
    assert len(done.files) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in into.iterdir())
    copied = opened(transformers, tmp_path / "out", model, dtype).state_dict()
    wanted = {**model.state_dict(), "classifier.weight": weight.to(dtype), "classifier.bias": bias.to(dtype)}
    assert list(copied) == list(wanted)
    assert all(torch.equal(copied[name], wanted[name]) for name in wanted)
    assert {value.dtype for value in copied.values()} == {dtype}
    assert read_classifier(tmp_path / "out", layer="classifier")[0].dtype == dtype


def test_the_project_opens_it_and_takes_it_as_a_checkpoint(saved: Any, tmp_path: Path) -> None:
    into, model = saved("ViTForImageClassification", shards="4KB")
    weight = torch.randn(CLASSES, 16)
    replace_in_checkpoint(into, tmp_path / "out", layer="classifier", weight=weight, bias=None)
    for options in ({"source": f"hf:{tmp_path / 'out'}"}, {"source": f"hf:{into}", "checkpoint": tmp_path / "out"}):
        module: Any = open_model(**options).module
        assert torch.equal(module.classifier.weight, weight)
        assert not module.classifier.bias.any()
        assert torch.equal(module.vit.embeddings.cls_token, model.vit.embeddings.cls_token)


def test_the_weights_that_are_loaded_are_the_ones_that_change(transformers: Any, saved: Any, tmp_path: Path) -> None:
    into, model = saved("ViTForImageClassification")
    torch.save(load_file(into / "model.safetensors"), into / "pytorch_model.bin")
    (into / "tf_model.h5").write_bytes(b"old")
    (into / "training_args.bin").write_bytes(b"kept")
    weight, bias = torch.randn(CLASSES, 16), torch.randn(CLASSES)
    done = replace_in_checkpoint(into, tmp_path / "out", layer="classifier", weight=weight, bias=bias)
    assert done.files == ("model.safetensors",)
    assert done.left == ("pytorch_model.bin", "tf_model.h5")
    assert not {path.name for path in (tmp_path / "out").iterdir()} & set(done.left)
    assert (tmp_path / "out" / "training_args.bin").read_bytes() == b"kept"
    assert torch.equal(opened(transformers, tmp_path / "out", model).classifier.weight, weight)


@pytest.mark.parametrize("shards", ["1GB", "4KB"])
def test_a_variant_alone_is_the_one_that_changes(shards: str, transformers: Any, saved: Any, tmp_path: Path) -> None:
    into, model = saved("ViTForImageClassification", shards=shards)
    for path in [*into.glob("model*")]:
        path.unlink()
    with quiet(transformers):
        model.save_pretrained(into, max_shard_size=shards, variant="fp16")
    weight = torch.randn(CLASSES, 16)
    replace_in_checkpoint(into, tmp_path / "out", recorded="classifier", weight=weight, bias=None)
    with quiet(transformers):
        copied = type(model).from_pretrained(tmp_path / "out", variant="fp16")
    assert torch.equal(copied.classifier.weight, weight)


def test_the_file_that_the_config_names_is_the_one_that_changes(transformers: Any, saved: Any, tmp_path: Path) -> None:
    into, model = saved("ViTForImageClassification")
    (into / "mine.safetensors").write_bytes((into / "model.safetensors").read_bytes())
    config = json.loads((into / "config.json").read_text())
    (into / "config.json").write_text(json.dumps({**config, "transformers_weights": "mine.safetensors"}))
    weight = torch.randn(CLASSES, 16)
    done = replace_in_checkpoint(into, tmp_path / "out", recorded="classifier", weight=weight, bias=None)
    assert (done.files, done.left) == (("mine.safetensors",), ("model.safetensors",))
    assert torch.equal(opened(transformers, tmp_path / "out", model).classifier.weight, weight)
