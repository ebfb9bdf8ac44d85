"""timm, imported where it is installed; its names checked before anything is built."""

from __future__ import annotations

import difflib
from types import ModuleType

from featurecache.models.torchvision.library import import_torchvision
from featurecache.quoting import shown


def import_timm() -> ModuleType:
    """timm itself. Raises ValueError when it, or torchvision which it needs, is not installed."""
    try:
        import_torchvision()
        import timm
        import timm.data
    except ModuleNotFoundError as error:
        raise ValueError(
            f"timm models need timm and torchvision, and {error.name} is not installed: install the extra, "
            "pip install 'featurecache-rebalance[timm]'"
        ) from error
    module: ModuleType = timm
    return module


def knows(name: str) -> bool:
    """Whether timm is installed and has a model of this name."""
    try:
        return bool(import_timm().is_model(name))
    except ValueError:
        return False


def check_name(timm: ModuleType, name: str) -> None:
    """ValueError, with names like it, unless timm has a model of this name and weights of its tag.

    name: with or without a tag.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ValueError(f"timm has no model {shown(name)}{hint}")
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError:
        bare, _, tag = name.partition(".")
        raise ValueError(f"timm's {shown(bare)} has no weights {shown(tag)}; leave the tag out or correct it") from None
