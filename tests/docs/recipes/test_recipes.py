"""The recipes' commands, run as they stand on miniatures of their data, and what their text says of the data."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache
from featurecache.datasets.long_tail import falling
from featurecache.models import new_model
from featurecache.training import holdout

RECIPES = Path(__file__).resolve().parents[3] / "docs" / "recipes"

# What a miniature changes, in the pages' own lines `NAME=value`: a small network, small images, one epoch, no workers,
# two views.
SMALL = {"arch": "resnet32", "size": "32", "epochs": "1", "workers": "0", "views": "2"}

WHOLE, NINE_TENTHS = (20, 100), (18, 90)  # bounds of the groups where a tenth of train is held out, and where not
CACHES = {
    "imagenet-lt": {"imagenet-lt": WHOLE, "imagenet-lt-reference": WHOLE},
    "places-lt": {"places-lt": WHOLE, "places-lt-reference": WHOLE},
    "inaturalist-2018": {"inaturalist": NINE_TENTHS, "inaturalist-reference": WHOLE},
    "cifar-100-lt": {"cifar-100-lt": NINE_TENTHS, "cifar-100-lt-views": NINE_TENTHS},
}


def text_of(page: str) -> str:
    return (RECIPES / f"{page}.md").read_text("utf-8")


def groups(counts: Any, few: int, many: int) -> list[int]:
    """How many classes have more than `many` rows, how many are between, and how many have fewer than `few`."""
    counts = np.asarray(counts)
    return [int(np.sum(part)) for part in (counts > many, (few <= counts) & (counts <= many), counts < few)]


def run(page: str, run_page: Callable[..., Any], folder: Path) -> list[str]:
    """Runs a page in its miniature; the heads and stars of the tables that `evaluate` and `compare` printed."""
    variables = {name: value for name, value in SMALL.items() if f"\n{name}=" in text_of(page)}
    output = run_page(RECIPES / f"{page}.md", folder, variables).output
    assert "missing: " not in output
    for name, bounds in CACHES[page].items():
        cache = FeatureCache(folder / f"{name}.cache")
        assert {"train", "val", "test"} <= set(cache)
        assert min(groups(cache.counts, *bounds)) > 0, f"{name}: a group is empty, {cache.counts}"
    return re.findall(r"^(\w[\w+ -]*?(?: \*)?) {2,}\d", output, re.MULTILINE)


FIVE = {"joint", "ncm", "crt", "lws", "tau"}


def test_imagenet_lt(run_page: Callable[..., Any], imagenet_lt_world: Path) -> None:
    heads = run("imagenet-lt", run_page, imagenet_lt_world)
    assert {*FIVE, "tau_norm", "logit_adjust", "lda"} <= set(heads)
    before = torch.load(imagenet_lt_world / "resnext50_uniform_e90.pth", weights_only=False)["state_dict_best"]
    after = torch.load(imagenet_lt_world / "imagenet-lt-crt.pth", weights_only=False)["state_dict_best"]
    assert after["feat_model"].keys() == before["feat_model"].keys()
    assert not torch.equal(after["classifier"]["module.fc.weight"], before["classifier"]["module.fc.weight"])


def test_places_lt(run_page: Callable[..., Any], places_lt_world: Path) -> None:
    heads = run("places-lt", run_page, places_lt_world)
    assert {*FIVE, "tau_norm", "logit_adjust", "lda"} <= set(heads)


def test_inaturalist_2018(run_page: Callable[..., Any], inaturalist_2018_world: Path) -> None:
    heads = run("inaturalist-2018", run_page, inaturalist_2018_world)
    assert {*FIVE, "ncm-reference", "crt-reference", "lws-reference", "tau-reference"} <= set(heads)
    assert {head for head in heads if head.endswith("*")} == {"tau-published *"}  # chosen on what it reports


def test_cifar_100_lt(run_page: Callable[..., Any], cifar_100_lt_world: Path) -> None:
    heads = run("cifar-100-lt", run_page, cifar_100_lt_world)
    assert {*FIVE, "tau_norm", "logit_adjust", "lda", "crt-views"} <= set(heads)


def test_every_recipe_has_its_miniature() -> None:
    assert {path.stem for path in RECIPES.glob("*.md")} == {"index", *CACHES}
    assert [page for page in CACHES if f"]({page}.md)" not in text_of("index")] == []


@pytest.mark.parametrize("page", CACHES)
def test_the_networks_exist(page: str) -> None:
    (arch,) = re.findall(r"^arch=(\S+)$", text_of(page), re.MULTILINE)
    if arch.startswith("torchvision:") and importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    with torch.device("meta"):
        model = new_model(arch, num_classes=7, image_size=32)
    assert {"conv1.weight", "fc.weight"} <= set(model.state_dict())


def test_a_tenth_held_out_leaves_the_groups() -> None:
    counts = np.arange(1, 1001)
    kept, _ = holdout(np.repeat(counts, counts), 0.1, seed=0)
    left = np.bincount(np.repeat(counts, counts)[kept])[1:]
    assert [groups([c], *NINE_TENTHS) for c in left] == [groups([c], *WHOLE) for c in counts]


def test_cifar_100_lt_is_as_told() -> None:
    counts = [int(count) for count in falling(500, 100, 100)]
    assert sum(counts) == 10_847
    assert "| train, imbalance 100 | 10,847 | 100 | 35 classes, 8,824 images" in text_of("cifar-100-lt")
    assert groups(counts, *WHOLE) == [35, 35, 30]
    assert groups(counts, 21, 100) == [35, 34, 31]
