"""The settings of an image processor of transformers, with other values in them."""

from __future__ import annotations

from typing import Any


def resized(settings: dict[str, Any], size: int) -> dict[str, Any]:
    """The settings of another size, with as much cut off the edges as before.

    settings: of an image processor.
    size: pixels of the square that is to come out.
    Raises ValueError where they resize in another way than those that are known here.
    """
    square = {"height": size, "width": size}
    before: dict[str, int] = settings.get("size") or {}
    cut: dict[str, int] = settings.get("crop_size") or {}
    if not settings.get("do_center_crop"):
        if set(before) == {"shortest_edge"} and "crop_pct" in settings:  # ConvNeXt's, which cuts a square itself
            return {"size": {"shortest_edge": size}}
        if set(before) == {"height", "width"}:
            return {"size": square}
    elif set(before) == {"shortest_edge"} and cut:
        if "crop_pct" in settings:
            return {"size": {"shortest_edge": size}, "crop_size": square}
        return {"size": {"shortest_edge": round(before["shortest_edge"] * size / cut["height"])}, "crop_size": square}
    elif set(before) == {"height", "width"} and cut:
        side = round(before["height"] * size / cut["height"])
        return {"size": {"height": side, "width": side}, "crop_size": square}
    raise ValueError(f"transform: size cannot be changed: the image processor resizes to {before!r:.120}")


def cropped(settings: dict[str, Any], crop: float) -> dict[str, Any]:
    """The settings of another crop, with images of the same size.

    settings: of an image processor.
    crop: part of the resized shorter side that is kept, in (0, 1].
    Raises ValueError where they cut nothing off.
    """
    before: dict[str, int] = settings.get("size") or {}
    cut: dict[str, int] = settings.get("crop_size") or {}
    if "crop_pct" in settings:
        return {"crop_pct": crop}
    if settings.get("do_center_crop") and cut and set(before) in ({"shortest_edge"}, {"height", "width"}):
        return {"size": dict.fromkeys(before, round(cut["height"] / crop))}
    raise ValueError("transform: crop cannot be changed: the image processor cuts nothing off what it resized")


def normalised(
    settings: dict[str, Any], mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> dict[str, Any]:
    """The settings of another normalisation.

    settings: of an image processor.
    mean, std: one value a channel; None: as before, 0 and 1 where there was none.
    """
    before = settings if settings.get("do_normalize") else {}
    channels = len(mean or std or ())
    return {
        "image_mean": mean or before.get("image_mean", (0.0,) * channels),
        "image_std": std or before.get("image_std", (1.0,) * channels),
        "do_normalize": True,
    }
