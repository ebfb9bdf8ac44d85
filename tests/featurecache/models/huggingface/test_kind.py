"""What a configuration describes: a classifier of images, a backbone, or nothing of images."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from featurecache.models.huggingface.kind import classifier_kind, kind_of


@pytest.mark.parametrize(
    ("config", "saved", "has_head"),
    [
        ("ViTConfig", ["ViTForImageClassification"], True),
        ("ViTConfig", None, True),
        ("ViTConfig", ["ViTModel"], False),
        ("ViTConfig", ["ViTForMaskedImageModeling"], False),
        ("DeiTConfig", ["DeiTForImageClassificationWithTeacher"], True),
        ("CLIPVisionConfig", ["CLIPVisionModel"], False),
        ("SegformerConfig", ["SegformerForSemanticSegmentation"], False),
        ("ResNetConfig", ["ResNetModel"], False),
    ],
)
def test_the_saved_class_decides(
    transformers: ModuleType, config: str, saved: list[str] | None, has_head: bool
) -> None:
    kind = kind_of(transformers, getattr(transformers, config)(architectures=saved), "hf:x")
    assert kind.has_head == has_head
    assert bool(kind.notes) != has_head
    assert kind.auto is (transformers.AutoModelForImageClassification if has_head else transformers.AutoModel)


@pytest.mark.parametrize(
    ("config", "saved", "parts"),
    [
        ("BertConfig", "BertForSequenceClassification", ["hf:x is a BertModel", "called with input_ids"]),
        ("CLIPConfig", "CLIPModel", ["CLIPModel: a model of two towers", "returns its image part"]),
        ("SiglipConfig", "SiglipModel", ["a model of two towers"]),
        ("ImageGPTConfig", "ImageGPTForImageClassification", ["called with input_ids, not with images alone"]),
        ("Wav2Vec2Config", "Wav2Vec2Model", ["called with input_values"]),
        ("TrOCRConfig", "TrOCRForCausalLM", ["'trocr'", "file:path.py:function"]),
    ],
)
def test_what_is_not_of_images_is_refused(
    transformers: ModuleType, config: str, saved: str, parts: list[str], refused: Any
) -> None:
    with refused(*parts):
        kind_of(transformers, getattr(transformers, config)(architectures=[saved]), "hf:x")


def test_an_architecture_has_a_classifier_or_not(transformers: ModuleType) -> None:
    found = classifier_kind(transformers, transformers.ViTConfig(architectures=["ViTModel"]))
    assert found is not None
    assert found.has_head
    assert classifier_kind(transformers, transformers.BertConfig()) is None
