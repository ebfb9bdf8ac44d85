"""One vector an image, from a backbone that gives one a place."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from featurecache.models.huggingface.places import averaged_places, features_of


@dataclass
class Output:
    """As transformers' outputs: by name and by number."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None

    def __getitem__(self, index: int) -> Tensor | None:
        return [value for value in (self.last_hidden_state, self.pooler_output) if value is not None][index]


class Backbone(nn.Module):
    def __init__(self, output: Output, token: str = "token") -> None:
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.register_parameter(token, nn.Parameter(torch.zeros(1)))
        self.output = output

    def forward(self, images: Tensor) -> Output:
        return self.output


IMAGES = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("places", "token", "expected", "said"),
    [
        (torch.rand(2, 5, 6), "cls_token", lambda p: p[:, 0], "its class token"),
        (torch.rand(2, 5, 6), "mask_token", lambda p: p.mean(1), "the mean over all places"),
        (torch.rand(2, 6, 3, 4), "cls_token", lambda p: p.mean((2, 3)), "the mean over all places"),
    ],
)
def test_the_class_token_or_the_mean(places: Tensor, token: str, expected: object, said: str) -> None:
    output = Output(places)
    module, note = averaged_places(Backbone(output, token), output)
    assert torch.equal(module(IMAGES), expected(places))  # type: ignore[operator]
    assert note.endswith(said)


@pytest.mark.parametrize("output", [Output(torch.rand(2, 5, 6), torch.rand(2, 6)), Output(torch.rand(2, 6))])
def test_one_vector_an_image_stays_as_it_is(output: Output) -> None:
    backbone = Backbone(output)
    assert averaged_places(backbone, output) == (backbone, "")


def test_features_are_what_is_pooled_or_comes_first() -> None:
    places, pooled = torch.rand(2, 5, 6), torch.rand(2, 6)
    assert features_of(pooled) is pooled
    assert features_of(Output(places, pooled)) is pooled
    assert features_of(Output(pooled)) is pooled
