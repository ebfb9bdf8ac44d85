"""Settings of image processors, with another size, crop or normalisation."""

from __future__ import annotations

from typing import Any

import pytest

from featurecache.models.huggingface.settings import cropped, normalised, resized


def square(pixels: int) -> dict[str, int]:
    return {"height": pixels, "width": pixels}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size": square(224)}, {"size": square(112)}),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.9}, {"size": {"shortest_edge": 112}}),
        (
            {"size": {"shortest_edge": 256}, "crop_size": square(224), "do_center_crop": True},
            {"size": {"shortest_edge": 128}, "crop_size": square(112)},
        ),
        (
            {"size": square(256), "crop_size": square(224), "do_center_crop": True},
            {"size": square(128), "crop_size": square(112)},
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_size": square(224), "do_center_crop": True, "crop_pct": 0.9},
            {"size": {"shortest_edge": 112}, "crop_size": square(112)},
        ),
    ],
)
def test_half_the_size_cuts_as_much_off(settings: dict[str, Any], expected: dict[str, Any]) -> None:
    assert resized(settings, 112) == expected


@pytest.mark.parametrize(
    "settings",
    [{}, {"size": {"longest_edge": 224}}, {"size": {"shortest_edge": 224}}, {"do_center_crop": True, "size": {}}],
)
def test_other_ways_to_resize_are_refused(settings: dict[str, Any], refused: Any) -> None:
    with refused("transform: size cannot be changed: the image processor resizes to"):
        resized(settings, 112)


def test_the_crop_is_a_part_of_the_shorter_side(refused: Any) -> None:
    settings = {"size": {"shortest_edge": 256}, "crop_size": square(224), "do_center_crop": True}
    assert cropped(settings, 0.5) == {"size": {"shortest_edge": 448}}
    assert cropped({**settings, "size": square(256)}, 0.5) == {"size": square(448)}
    assert cropped({**settings, "crop_pct": 0.9}, 0.5) == {"crop_pct": 0.5}
    with refused("transform: crop cannot be changed"):
        cropped({"size": square(224)}, 0.5)


def test_a_normalisation_that_was_off_begins_at_nothing() -> None:
    mean, std = (0.1, 0.2, 0.3), (1.0, 2.0, 3.0)
    before = {"image_mean": mean, "image_std": std}
    assert normalised({**before, "do_normalize": True}, (0.5,) * 3, None) == {
        "image_mean": (0.5,) * 3,
        "image_std": std,
        "do_normalize": True,
    }
    assert normalised(before, None, std) == {"image_mean": (0.0,) * 3, "image_std": std, "do_normalize": True}
