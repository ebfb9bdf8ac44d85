"""Which model a head is of: as asked, as the checkpoint says, or as the cache records; and that it is that one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import torch

from featurecache import FeatureCache
from featurecache.classifier import Classifier
from featurecache.models import open_model
from rebalance import load_head
from rebalance_cli.exporting.options import Origin
from rebalance_cli.exporting.source import Source, classifier_in, opened, shape_of_input, source_of

UNKNOWN = Origin(None, None, None)


def recorded(model: object, folder: Path = Path("nowhere")) -> Any:
    """A cache that records this model."""
    return SimpleNamespace(plan=SimpleNamespace(specification={"model": model}), path=folder / "x.cache")


def test_what_was_asked_for_comes_first(project: Any, tmp_path: Path) -> None:
    asked = Origin("timm:resnet18", None, None)
    assert source_of(asked, project.model, recorded("run:joint.pt")) == Source("timm:resnet18", project.model)
    assert source_of(asked, None, None) == Source("timm:resnet18")
    folder = Origin("hf:google/some-model", None, None)
    assert source_of(folder, tmp_path, None) == Source(f"hf:{tmp_path}")


def test_a_run_file_and_a_folder_say_what_they_are(project: Any, tmp_path: Path) -> None:
    assert source_of(UNKNOWN, project.model, recorded("timm:resnet18")) == Source(f"run:{project.model}")
    assert source_of(UNKNOWN, tmp_path, None) == Source(f"hf:{tmp_path}")


def test_a_cache_says_what_belongs_to_bare_weights(project: Any, tmp_path: Path) -> None:
    bare = tmp_path / "bare.pt"
    torch.save({"fc.weight": torch.zeros(3, 4)}, bare)
    assert source_of(UNKNOWN, bare, recorded("timm:resnet18")) == Source("timm:resnet18", bare)
    assert source_of(UNKNOWN, None, recorded("run:joint.pt", project.cache.parent)) == Source(f"run:{project.model}")
    assert source_of(UNKNOWN, bare, recorded("reference:old.pth")) == Source(f"reference:{bare}")


@pytest.mark.parametrize("model", ["file:evil.py:f", "timm:resnet18", "run:lost.pt", "hf:name", None, 3, "nonsense"])
def test_where_nobody_knows_it_is_asked_for(model: object) -> None:
    with pytest.raises(click.UsageError, match="expected --model SOURCE:NAME") as caught:
        source_of(UNKNOWN, None, recorded(model))
    assert ("its cache says" in str(caught.value)) == (model is not None)


def test_the_same_model_with_other_weights(tmp_path: Path) -> None:
    new = tmp_path / "new.pt"
    assert Source("run:joint.pt").of(new) == Source(f"run:{new}")
    assert Source("run:joint.pt", Path("other.pt")).of(new) == Source("run:joint.pt", new)
    assert Source("timm:resnet18", Path("old.pt")).of(new) == Source("timm:resnet18", new)
    assert Source("hf:some/model").of(tmp_path) == Source(f"hf:{tmp_path}")


def test_a_model_is_opened_with_its_proved_classifier(project: Any) -> None:
    head = load_head(project.heads["crt"])
    whole = opened(Source(f"run:{project.model}"), head, UNKNOWN, FeatureCache(project.cache))
    assert (whole.classifier.name, whole.shape) == ("classifier", (3, 16, 16))
    assert tuple(whole.random(0).shape) == (7, 3, 16, 16)
    assert torch.equal(whole.random(3), whole.random(3))


def test_another_classifier_is_refused_where_there_is_no_cache(project: Any) -> None:
    head = load_head(project.heads["crt"]).with_record(joint="0" * 64)
    with pytest.raises(ValueError, match="its classifier 'classifier' is another one"):
        opened(Source(f"run:{project.model}"), head, UNKNOWN, None)


def test_other_weights_are_refused_where_there_is_one(project: Any) -> None:
    cache = FeatureCache(project.cache)
    cache.plan.specification["weights"] = "0" * 64
    with pytest.raises(ValueError, match="another model than the one the features were extracted with"):
        opened(Source(f"run:{project.model}"), load_head(project.heads["crt"]), UNKNOWN, cache)


def test_a_model_without_a_classifier_is_refused(project: Any) -> None:
    cache = FeatureCache(project.cache)
    cache.plan.specification["head"] = None
    with pytest.raises(ValueError, match="write the head alone, without --full"):
        opened(Source(f"run:{project.model}"), load_head(project.heads["crt"]), UNKNOWN, cache)


def test_the_classifier_of_a_written_model_has_its_recorded_name(project: Any) -> None:
    model = open_model(f"run:{project.model}")
    shape = shape_of_input(model)
    assert shape == (3, 16, 16)
    assert classifier_in(model, {"layer": "classifier"}, None, shape) == "classifier"
    assert classifier_in(model, {"layer": "fc"}, "classifier", shape) == "classifier"
    found = classifier_in(model, {}, "module.classifier", shape)  # a name in a file; in the model it is proved
    assert isinstance(found, Classifier)
    assert found.name == "classifier"
    terms = [{"name": "a", "width": 3, "factor": 0.5, "normalised": False}, {"name": "b", "width": 2}]
    several = classifier_in(model, {"layer": "a+b", "terms": terms}, "a+b", shape)
    assert isinstance(several, Classifier)
    assert [(term.name, term.width, term.factor) for term in several.layers] == [("a", 3, 0.5), ("b", 2, 1.0)]
