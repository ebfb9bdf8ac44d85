"""Features of a backbone that gives a vector for every place of an image and none for the whole."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class PlaceFeatures(nn.Module):
    """Features (B, D) of images: the class token where the backbone has one, else the mean over all places.

    backbone: gives last_hidden_state, (B, T, D) or (B, D, H, W).
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.class_token = any(name.rpartition(".")[2] == "cls_token" for name, _ in backbone.named_parameters())

    def forward(self, images: Tensor) -> Tensor:
        places: Tensor = self.backbone(images).last_hidden_state
        if places.ndim == 4:
            return places.mean((2, 3))
        return places[:, 0] if self.class_token else places.mean(1)


def averaged_places(backbone: nn.Module, output: Any) -> tuple[nn.Module, str]:
    """The backbone where it gives one vector an image, else one made of the vectors it gives; and a note, or nothing.

    backbone: of transformers.
    output: what it returned for a batch.
    """
    places = getattr(output, "last_hidden_state", None)
    if isinstance(getattr(output, "pooler_output", None), Tensor) or not isinstance(places, Tensor) or places.ndim < 3:
        return backbone, ""
    features = PlaceFeatures(backbone)
    what = "its class token" if features.class_token and places.ndim == 3 else "the mean over all places"
    return features, f"the backbone gives no single vector an image: the features are {what}"


def features_of(output: Any) -> Tensor:
    """The features in what a backbone returned: pooler_output where there is one, else its first tensor.

    output: a tensor or an output of transformers.
    """
    pooled = getattr(output, "pooler_output", None)
    features: Tensor = output if isinstance(output, Tensor) else output[0] if pooled is None else pooled
    return features
